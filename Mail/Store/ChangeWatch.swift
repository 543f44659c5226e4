import Pipeline
import SQLite

/// Which state the mailboxes are in, said without waiting: it looks at memory that all users of the database share.
///
/// Its numbers mean nothing to another one. For one event loop, since others would wait for its lock.
package final class ChangeWatch: Sendable {
  private struct State {
    var database: Database?
    /// What was seen before the version was asked for: while it stays, so does the version. Nil before the first time.
    var mark: CommitMark?
    var version: Int64?

    mutating func look() -> Int64? {
      guard let database else { return nil }
      let mark = version == nil ? nil : database.commitMark
      if let mark, mark == self.mark { return version }
      version = try? database.dataVersion()
      self.mark = mark
      // Another connection would count anew.
      if version == nil { self.database = nil }
      return version
    }
  }

  private let state: Monitor<State>

  fileprivate init(_ database: sending Database) { state = Monitor(State(database: database)) }

  /// A number that is another one after any change, in this process or another: what was read since it was this one is
  /// as it was. Nil: it cannot be said, and never will be by this one.
  package var version: Int64? { state.withLock { $0.look() } }
}

extension MailStore {
  /// Tells of changes from now on.
  package func watch() async throws(MailStoreError) -> ChangeWatch {
    try await reader.run { database in
      var configuration = Database.Configuration()
      (configuration.isWritable, configuration.busyMilliseconds, configuration.cacheKiB) = (false, 0, 64)
      return ChangeWatch(try Database(path: database.path, configuration))
    }
  }
}

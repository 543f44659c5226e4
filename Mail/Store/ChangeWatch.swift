import Pipeline
import SQLite

/// Which state the mailboxes are in, said without waiting: it looks at memory that all users of the database share.
///
/// Its numbers mean nothing to another one. For one event loop, since others would wait for its lock.
package final class ChangeWatch: Sendable {
  private let database: Monitor<Database?>

  fileprivate init(_ database: sending Database) { self.database = Monitor(database) }

  /// A number that is another one after any change, in this process or another: what was read since it was this one is
  /// as it was. Nil: it cannot be said, and never will be by this one.
  package var version: Int64? {
    database.withLock { database in
      let version = try? database?.int("PRAGMA data_version")
      // Another connection would count anew.
      if version == nil { database = nil }
      return version
    }
  }
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

import SQLite
import Synchronization

/// Which state the mailboxes are in, said at once to whoever asks: it looks at memory that all users of the database share.
///
/// Its numbers mean nothing to another one.
public final class ChangeWatch: Sendable {
  private struct State {
    var database: Database?
    var isOver = false
  }
  private let state = Mutex(State())
  private let path: String

  init(path: String) { self.path = path }

  /// A number that is another one after any change, in this process or another: what was read since it was this one is
  /// as it was. Nil: it cannot be said.
  public var version: Int64? {
    state.withLock { state in
      guard !state.isOver else { return nil }
      do {
        let database = try state.database ?? open()
        state.database = database
        return try database.int("PRAGMA data_version")
      } catch {
        // Another connection would count anew.
        if state.database != nil { end(&state) }
        return nil
      }
    }
  }

  private func end(_ state: inout State) {
    state.database = nil
    state.isOver = true
  }

  private func open() throws -> Database {
    var configuration = Database.Configuration()
    (configuration.isWritable, configuration.busyMilliseconds, configuration.cacheKiB) = (false, 0, 64)
    return try Database(path: path, configuration)
  }
}

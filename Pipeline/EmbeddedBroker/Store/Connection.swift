import Pipeline
import SQLite

/// One SQLite connection, seen through the broker's errors.
///
/// A refusal of the broker (fenced, unknown topic) leaves a transaction as it was; an error of SQLite does not: it is
/// kept in `failure`, and whoever owns the transaction rolls it back.
final class Connection {
  private let database: Database
  private var queries: [String: Query] = [:]
  /// The first error of SQLite since it was last forgotten.
  var failure: BrokerError?

  /// Opens the database at `path`, or one in memory for `:memory:`.
  init(path: String, isWritable: Bool, busyMilliseconds: Int, cacheKiB: Int) throws(BrokerError) {
    var configuration = Database.Configuration()
    configuration.isWritable = isWritable
    configuration.busyMilliseconds = busyMilliseconds
    configuration.cacheKiB = cacheKiB
    do { database = try Database(path: path, configuration) } catch { throw Self.brokerError(error, path: path) }
  }

  /// The file, or `:memory:`.
  var path: String { database.path }

  /// The statement, prepared once and kept.
  func query(_ sql: String) throws(BrokerError) -> Query {
    if let query = queries[sql] { return query }
    let query = try prepare(sql)
    queries[sql] = query
    return query
  }

  /// A statement that its caller keeps, no longer than the connection.
  func prepare(_ sql: String) throws(BrokerError) -> Query {
    do { return Query(try database.prepare(sql), on: self) } catch { throw failed(error) }
  }

  /// Runs statements that return nothing.
  func execute(_ sql: String) throws(BrokerError) {
    do { try database.execute(sql) } catch { throw failed(error) }
  }

  /// The first column of the first row; nil if there is no row, or it is NULL.
  func int(_ sql: String) throws(BrokerError) -> Int64? { try query(sql).first() }

  /// Changes when another connection has committed.
  func dataVersion() throws(BrokerError) -> Int64 { try int("PRAGMA data_version") ?? 0 }

  func begin() throws(BrokerError) { try query("BEGIN IMMEDIATE").run() }
  func beginRead() throws(BrokerError) { try query("BEGIN").run() }
  /// Fails with `.unknownResult` when the disk may or may not have it.
  func commit() throws(BrokerError) {
    do { try database.commit() } catch {
      let mapped = Self.brokerError(error, path: path)
      let isKnown = error.isFull || error.isBusy || mapped.kind != .other
      throw isKnown
        ? mapped
        : BrokerError(
          .unknownResult, "the commit may or may not have reached the disk: \(error)",
          hint: "look at the kernel's log for disk errors")
    }
  }
  func rollback() { database.rollback() }
  func checkpoint(truncating: Bool) { database.checkpoint(truncating: truncating) }
  var changes: Int { database.changes }

  fileprivate func failed(_ error: SQLiteError) -> BrokerError {
    let mapped = Self.brokerError(error, path: path)
    if failure == nil { failure = mapped }
    return mapped
  }

  private static func brokerError(_ error: SQLiteError, path: String) -> BrokerError {
    if error.isFull {
      return BrokerError(.storageFull, "no room for \(path): \(error.message)", hint: "free space on its disk")
    }
    if error.isCorrupt {
      return BrokerError(
        .corrupt, "\(path) is damaged: \(error)", hint: "stop the service, keep a copy, restore a backup")
    }
    if error.isBusy {
      return BrokerError(
        .unavailable, "\(path) is locked by another process: \(error.message)",
        hint: "find who holds it with `fuser \(path)`")
    }
    if error.isReadOnly || error.cannotOpen {
      return BrokerError(.notPermitted, "cannot open or write \(path): \(error.message)")
    }
    return BrokerError(.other, "\(error)")
  }
}

/// A prepared statement whose errors are the broker's.
final class Query {
  private let statement: Statement
  private unowned let connection: Connection

  fileprivate init(_ statement: Statement, on connection: Connection) {
    self.statement = statement
    self.connection = connection
  }

  func bind(_ index: Int32, _ value: Int64) { statement.bind(index, value) }
  func bind(_ index: Int32, _ value: Int) { statement.bind(index, value) }
  func bind(_ index: Int32, _ text: String) { statement.bind(index, text) }
  func bindNull(_ index: Int32) { statement.bindNull(index) }
  /// The bytes must stay where they are until the next `reset` or `run`.
  func bind(_ index: Int32, borrowing bytes: UnsafeRawBufferPointer) { statement.bind(index, borrowing: bytes) }

  /// Goes to the next row; false when there is none, and then it is reset.
  func step() throws(BrokerError) -> Bool {
    do {
      if try statement.step() { return true }
      statement.reset()
      return false
    } catch { throw connection.failed(error) }
  }
  func reset() { statement.reset() }
  func run() throws(BrokerError) {
    do { try statement.run() } catch { throw connection.failed(error) }
  }

  /// The first column of the first row; nil if there is no row, or it is NULL. Resets.
  func first() throws(BrokerError) -> Int64? {
    guard try step() else { return nil }
    defer { statement.reset() }
    return statement.isNull(0) ? nil : statement.int(0)
  }

  func int(_ column: Int32) -> Int64 { statement.int(column) }
  func isNull(_ column: Int32) -> Bool { statement.isNull(column) }
  /// Valid until the next step or reset.
  func blob(_ column: Int32) -> UnsafeRawBufferPointer { statement.blob(column) }
  func text(_ column: Int32) -> String { statement.text(column) }
}

extension Query {
  /// Binds numbers to the first parameters.
  func bindAll(_ values: Int64...) {
    var index: Int32 = 1
    for value in values {
      bind(index, value)
      index += 1
    }
  }
}

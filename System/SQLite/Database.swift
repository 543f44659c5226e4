import CSQLite
import Glibc

/// The state of a database's write-ahead log; see `Database.commitMark`.
public struct CommitMark: Sendable, Equatable {
  /// 48 bytes are used.
  fileprivate var words = SIMD8<UInt64>()
}

/// One connection, used by one thread at a time.
///
/// A class that is not Sendable: whoever owns it (a thread, an actor) keeps it to itself. Statements are prepared once
/// and kept.
public final class Database {
  /// How a connection is opened.
  public struct Configuration: Sendable {
    /// Whether the file may be changed; a connection that may also creates it.
    public var isWritable = true
    /// `FULL` syncs at every commit, `NORMAL` at checkpoints only.
    public var isSyncedAtCommit = true
    /// Pages in the write-ahead log before a commit moves them into the database.
    public var checkpointPages = 4000
    /// How long to wait for another connection's lock, in milliseconds, asking every 0.3 ms.
    public var busyMilliseconds = 10_000
    /// Page cache in KiB.
    public var cacheKiB = 16 * 1024

    /// Writable, synced at every commit.
    public init() {}
  }

  let handle: OpaquePointer
  /// The file, or `:memory:`.
  public let path: String
  private var statements: [String: Statement] = [:]

  /// Opens, and creates if need be, the database at `path`; `:memory:` for one that lives as long as the connection.
  ///
  /// Two processes may do so at the same moment: the file is set up under a lock on `path.lock`.
  public init(path: String, _ configuration: Configuration = Configuration()) throws(SQLiteError) {
    let isInMemory = path == ":memory:"
    let lock = isInMemory || !configuration.isWritable ? -1 : open("\(path).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    if lock >= 0 { flock(lock, LOCK_EX) }
    defer { if lock >= 0 { close(lock) } }

    var opened: OpaquePointer?
    let mode = configuration.isWritable ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY
    let code = sqlite3_open_v2(path, &opened, mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
    guard code == SQLITE_OK, let opened else {
      let message = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
      sqlite3_close_v2(opened)
      throw SQLiteError(code, message, context: path)
    }
    handle = opened
    self.path = path
    let tries = max(1, configuration.busyMilliseconds * 10 / 3)
    // SQLite's own back-off sleeps up to 100 ms between tries, which was seen to starve a writer for a second.
    sqlite3_busy_handler(
      handle,
      { context, count in
        guard count < Int32(truncatingIfNeeded: Int(bitPattern: context)) else { return 0 }
        usleep(300)
        return 1
      }, UnsafeMutableRawPointer(bitPattern: tries))
    if configuration.isWritable, !isInMemory {
      try execute("PRAGMA page_size=4096; PRAGMA journal_mode=WAL")
    }
    try execute(
      """
      PRAGMA synchronous=\(configuration.isSyncedAtCommit ? "FULL" : "NORMAL");
      PRAGMA wal_autocheckpoint=\(configuration.checkpointPages);
      PRAGMA cache_size=-\(configuration.cacheKiB);
      PRAGMA secure_delete=OFF;
      PRAGMA foreign_keys=ON;
      """)
  }

  deinit { shut() }

  private func shut() {
    statements.removeAll()
    sqlite3_close_v2(handle)
  }

  /// Runs statements that return nothing.
  public func execute(_ sql: String) throws(SQLiteError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    if code != SQLITE_OK { throw error(code, sql) }
  }

  /// The statement, prepared at the first call and reset.
  public func statement(_ sql: String) throws(SQLiteError) -> Statement {
    if let statement = statements[sql] { return statement }
    let statement = try prepare(sql)
    statements[sql] = statement
    return statement
  }

  /// A statement that the caller keeps. It must be gone before the database is.
  public func prepare(_ sql: String) throws(SQLiteError) -> Statement {
    var prepared: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
    guard code == SQLITE_OK, let prepared else { throw error(code, sql) }
    return Statement(prepared, of: self, sql)
  }

  /// Takes the write lock and runs `body`: all of it becomes durable, or nothing.
  public func transaction<R>(_ body: () throws(SQLiteError) -> R) throws(SQLiteError) -> R {
    try begin()
    do {
      let result = try body()
      try commit()
      return result
    } catch {
      rollback()
      throw error
    }
  }

  /// `BEGIN IMMEDIATE`.
  public func begin() throws(SQLiteError) { try statement("BEGIN IMMEDIATE").run() }
  /// `BEGIN`: what is read until `rollback` is of one moment.
  public func beginReading() throws(SQLiteError) { try statement("BEGIN").run() }
  /// `COMMIT`.
  public func commit() throws(SQLiteError) { try statement("COMMIT").run() }
  /// `ROLLBACK`, if a transaction is open: some errors have rolled it back already.
  public func rollback() {
    if sqlite3_get_autocommit(handle) == 0 { try? statement("ROLLBACK").run() }
  }
  /// Whether a transaction is open.
  public var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

  /// The first column of the first row as a number; 0 if there is none.
  public func int(_ sql: String) throws(SQLiteError) -> Int64 {
    let statement = try statement(sql)
    defer { statement.reset() }
    return try statement.step() ? statement.int(0) : 0
  }

  /// The first column of the first row as a text; empty if there is none.
  public func text(_ sql: String) throws(SQLiteError) -> String {
    let statement = try statement(sql)
    defer { statement.reset() }
    return try statement.step() ? statement.text(0) : ""
  }

  /// What is another one after any commit, of whatever connection: to look takes no lock of the database and no system
  /// call. Nil for a database in memory.
  ///
  /// For files with a write-ahead log only, as all that are opened here for writing have, and behind the connection's
  /// first read: `dataVersion` is one.
  ///
  /// It says that there is something new, not that it can be read: what was seen under an equal mark is as it was.
  public var commitMark: CommitMark? {
    guard path != ":memory:" else { return nil }
    var mark = CommitMark()
    return withUnsafeMutableBytes(of: &mark.words) { csqlite_wal_header(handle, $0.baseAddress) } == 1 ? mark : nil
  }

  /// Changes when another connection has committed.
  public func dataVersion() throws(SQLiteError) -> Int64 { try int("PRAGMA data_version") }
  /// A number that the application keeps in the file: the version of its schema.
  public func userVersion() throws(SQLiteError) -> Int { Int(try int("PRAGMA user_version")) }
  /// See `userVersion`.
  public func setUserVersion(_ version: Int) throws(SQLiteError) { try execute("PRAGMA user_version=\(version)") }

  /// Rows that the last statement changed.
  public var changes: Int { Int(sqlite3_changes64(handle)) }
  /// The rowid of the last insert.
  public var lastInsertRowID: Int64 { sqlite3_last_insert_rowid(handle) }

  /// Moves the write-ahead log into the database as far as readers allow; `truncating` also empties the log's file.
  public func checkpoint(truncating: Bool = false) {
    sqlite3_wal_checkpoint_v2(
      handle, nil, truncating ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, nil, nil)
  }

  /// `ok`, or what SQLite found damaged.
  public func integrity() throws(SQLiteError) -> String { try text("PRAGMA integrity_check") }

  func error(_ code: Int32, _ sql: String) -> SQLiteError {
    SQLiteError(
      sqlite3_extended_errcode(handle) == SQLITE_OK ? code : sqlite3_extended_errcode(handle),
      String(cString: sqlite3_errmsg(handle)), context: "\(path): \(sql.prefix(80))")
  }
}

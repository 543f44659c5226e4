import CSQLite

/// What SQLite refused, and on which statement or file.
public struct SQLiteError: Error, Sendable, CustomStringConvertible {
  /// The extended result code (sqlite.org/rescode.html).
  public let code: Int32
  /// SQLite's own words.
  public let message: String
  /// The file or statement that it happened on.
  public let context: String

  init(_ code: Int32, _ message: String, context: String) {
    self.code = code
    self.message = message
    self.context = context
  }

  private var primary: Int32 { code & 0xFF }
  /// Another connection holds the lock.
  public var isBusy: Bool { primary == SQLITE_BUSY || primary == SQLITE_LOCKED }
  /// No room on the disk, or the database is at its size limit.
  public var isFull: Bool { primary == SQLITE_FULL || code == Self.ioWriteError || code == Self.ioSharedMemorySize }
  /// The file is damaged, or no database at all.
  public var isCorrupt: Bool { primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB }
  /// The file or its folder cannot be opened.
  public var cannotOpen: Bool { primary == SQLITE_CANTOPEN }
  /// The file or its folder may not be written.
  public var isReadOnly: Bool { primary == SQLITE_READONLY || primary == SQLITE_PERM || primary == SQLITE_AUTH }
  /// A constraint of the schema does not hold.
  public var isConstraint: Bool { primary == SQLITE_CONSTRAINT }

  // SQLITE_IOERR_WRITE and SQLITE_IOERR_SHMSIZE are macros with a shift, which Swift does not import. Both are what a
  // full disk looks like in WAL mode.
  private static let ioWriteError: Int32 = 10 | 3 << 8
  private static let ioSharedMemorySize: Int32 = 10 | 19 << 8

  /// The words, the code and the place.
  public var description: String { "\(message) (SQLite \(code), \(context))" }
}

import CSQLite

/// A prepared statement. Belongs to the thread that its database belongs to.
public final class Statement {
  private let handle: OpaquePointer
  // The database outlives its statements: it keeps them itself, or `prepare` says so.
  private unowned let database: Database
  private let sql: String

  init(_ handle: OpaquePointer, of database: Database, _ sql: String) {
    self.handle = handle
    self.database = database
    self.sql = sql
  }

  deinit { sqlite3_finalize(handle) }

  /// Binds a number to parameter `index`, 1 and up.
  public func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(handle, index, value) }
  /// Binds a number.
  public func bind(_ index: Int32, _ value: Int) { sqlite3_bind_int64(handle, index, Int64(value)) }
  /// Binds NULL.
  public func bindNull(_ index: Int32) { sqlite3_bind_null(handle, index) }
  /// Binds a copy of a text.
  public func bind(_ index: Int32, _ text: String) {
    var text = text
    text.withUTF8 { bytes in
      _ = bytes.withMemoryRebound(to: CChar.self) { chars in
        var empty: CChar = 0
        if let base = chars.baseAddress {
          return csqlite_bind_text_copy(handle, index, base, UInt64(chars.count))
        }
        return csqlite_bind_text_copy(handle, index, &empty, 0)
      }
    }
  }
  /// Binds bytes without copying: they must stay where they are until the next `reset` or `run`.
  public func bind(_ index: Int32, borrowing bytes: UnsafeRawBufferPointer) {
    if let base = bytes.baseAddress, !bytes.isEmpty {
      _ = csqlite_bind_blob_static(handle, index, base, UInt64(bytes.count))
    } else {
      sqlite3_bind_zeroblob(handle, index, 0)
    }
  }
  /// Binds a copy of bytes.
  public func bind(_ index: Int32, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
      if let base = buffer.baseAddress, !buffer.isEmpty {
        _ = csqlite_bind_blob_copy(handle, index, base, UInt64(buffer.count))
      } else {
        sqlite3_bind_zeroblob(handle, index, 0)
      }
    }
  }

  /// Goes to the next row; false when there is none.
  public func step() throws(SQLiteError) -> Bool {
    let code = sqlite3_step(handle)
    if code == SQLITE_ROW { return true }
    if code == SQLITE_DONE { return false }
    let error = database.error(code, sql)
    sqlite3_reset(handle)
    throw error
  }

  /// Ends the execution; bindings stay.
  public func reset() { sqlite3_reset(handle) }

  /// Executes a statement whose rows nobody wants, and resets it.
  public func run() throws(SQLiteError) {
    let code = sqlite3_step(handle)
    guard code == SQLITE_DONE || code == SQLITE_ROW else {
      let error = database.error(code, sql)
      sqlite3_reset(handle)
      throw error
    }
    sqlite3_reset(handle)
  }

  /// Column `column`, 0 and up, of the present row, as a number.
  public func int(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
  /// Whether it is NULL.
  public func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }
  /// As bytes, valid until the next step or reset.
  public func blob(_ column: Int32) -> UnsafeRawBufferPointer {
    let base = sqlite3_column_blob(handle, column)
    return UnsafeRawBufferPointer(start: base, count: Int(sqlite3_column_bytes(handle, column)))
  }
  /// As a text.
  public func text(_ column: Int32) -> String {
    String(decoding: blob(column), as: UTF8.self)
  }
}

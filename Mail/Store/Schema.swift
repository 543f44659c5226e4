import Glibc
import SQLite

/// The tables of `mail.db`.
enum Schema {
  /// Kept in the file as its user version; a newer one is refused.
  static let version = 2

  /// Creates the tables of a new database, brings one of an older version up to this, and refuses one of a newer.
  static func prepare(_ database: Database) throws {
    guard try !isPresent(database) else { return }
    // Two processes may come here at once: the write lock decides, and the second one finds the tables.
    try database.begin()
    do {
      if try !isPresent(database) {
        for step in steps.dropFirst(try database.userVersion()) { try step(database) }
        try database.setUserVersion(version)
      }
      try database.commit()
    } catch {
      database.rollback()
      throw error
    }
  }

  /// What leads from each version to the next; a new database takes all of them.
  private static let steps: [@Sendable (Database) throws -> Void] = [
    { try $0.execute(tables) },
    {
      try $0.execute(Threads.tables)
      try Threads.assignAll($0)
    },
  ]

  private static func isPresent(_ database: Database) throws -> Bool {
    let found = try database.userVersion()
    guard found <= version else {
      throw MailStoreError(
        .newerVersion,
        "\(database.path) has version \(found), this program knows \(version): a newer Mailflow wrote it; "
          + "upgrade this one, or restore a backup from before the upgrade")
    }
    return found == version
  }

  // Every number that tells change from change (UID, modseq) belongs to its folder or user and only grows (RFC 9051
  // section 2.3.1.1, RFC 7162). `prefix` is what differs between the copies of one message: Return-Path and our trace
  // headers; what was received is in `contents`, once for all.
  private static let tables = """
    CREATE TABLE users(
      id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE, password TEXT, quota INTEGER,
      used INTEGER NOT NULL DEFAULT 0, modseq INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL) STRICT;
    CREATE TABLE tokens(
      digest BLOB PRIMARY KEY, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, name TEXT NOT NULL,
      created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE folders(
      id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      name TEXT NOT NULL, role TEXT, uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL DEFAULT 1,
      modseq INTEGER NOT NULL DEFAULT 1, total INTEGER NOT NULL DEFAULT 0, unread INTEGER NOT NULL DEFAULT 0,
      UNIQUE(user, name)) STRICT;
    CREATE UNIQUE INDEX folders_role ON folders(user, role) WHERE role IS NOT NULL;
    CREATE TABLE contents(
      id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, bytes BLOB) STRICT;
    CREATE TABLE messages(
      row INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      folder INTEGER NOT NULL REFERENCES folders, uid INTEGER NOT NULL, id TEXT NOT NULL, origin TEXT NOT NULL,
      flags INTEGER NOT NULL, received INTEGER NOT NULL, modseq INTEGER NOT NULL, size INTEGER NOT NULL,
      message_id TEXT, sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL, date INTEGER,
      preview TEXT NOT NULL, attachment INTEGER NOT NULL, content INTEGER NOT NULL REFERENCES contents,
      prefix BLOB NOT NULL, UNIQUE(user, id), UNIQUE(user, origin), UNIQUE(folder, uid)) STRICT;
    CREATE INDEX messages_by_user ON messages(user, received, row);
    CREATE INDEX messages_by_folder ON messages(folder, received, row);
    CREATE INDEX messages_by_message_id ON messages(message_id) WHERE message_id IS NOT NULL;
    CREATE INDEX messages_by_content ON messages(content);
    """
}

extension Database {
  /// The first row of a query, read by `read`; nil: there is none.
  func first<R>(_ sql: String, _ bind: (Statement) -> Void = { _ in }, _ read: (Statement) throws -> R) throws -> R? {
    let statement = try statement(sql)
    defer { statement.reset() }
    bind(statement)
    return try statement.step() ? read(statement) : nil
  }

  /// Every row of a query.
  func rows<R>(_ sql: String, _ bind: (Statement) -> Void = { _ in }, _ read: (Statement) throws -> R) throws -> [R] {
    let statement = try statement(sql)
    defer { statement.reset() }
    bind(statement)
    var rows: [R] = []
    while try statement.step() { rows.append(try read(statement)) }
    return rows
  }

  /// Runs a statement without rows.
  func run(_ sql: String, _ bind: (Statement) -> Void) throws {
    let statement = try statement(sql)
    bind(statement)
    try statement.run()
  }
}

extension Statement {
  func bind(_ index: Int32, optional text: String?) { if let text { bind(index, text) } else { bindNull(index) } }
  func bind(_ index: Int32, optional number: Int64?) { if let number { bind(index, number) } else { bindNull(index) } }
  func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }
  func optionalInt(_ column: Int32) -> Int64? { isNull(column) ? nil : int(column) }
  func bytes(_ column: Int32) -> [UInt8] { Array(blob(column)) }
}

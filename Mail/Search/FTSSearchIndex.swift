public import Pipeline
import SQLite

/// The embedded search index: SQLite's FTS5 in `FOLDER/search.db`.
///
/// The words are in a table without content, the texts (for snippets, and to take words out again) in one beside it. A
/// document's row number is the microsecond at which it was received, or the next that is free: so what matches comes in
/// order, a page begins where the last one ended, and days are ranges, all by the index itself. Whose it is is a word,
/// too: a mailbox costs what is in it, not what is in all.
public final class FTSSearchIndex: SearchIndex {
  private let writer: DatabaseThread
  private let reader: DatabaseThread

  /// The index in the data folder `folder`. Nothing is opened before it is used: see `probe`.
  public init(folder: String, mode: MailStore.Mode = .threads) {
    (writer, reader) = DatabaseThread.pair(
      folder: folder, file: "search.db", isInline: mode == .inline, prepare: Self.prepare)
  }

  deinit {
    writer.abandon()
    reader.abandon()
  }

  private static let version = 1

  private static func prepare(_ database: Database) throws {
    let found = try database.userVersion()
    guard found <= version else {
      throw MailStoreError(
        .newerVersion, "\(database.path) has version \(found), this program knows \(version): upgrade it")
    }
    guard found < version else { return }
    try database.begin()
    do {
      if try database.userVersion() < version {
        try database.execute(
          """
          CREATE TABLE documents(
            row INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL,
            sender TEXT NOT NULL, recipients TEXT NOT NULL, files TEXT NOT NULL, tags TEXT NOT NULL,
            body TEXT NOT NULL, UNIQUE(mailbox, id)) STRICT;
          CREATE VIRTUAL TABLE words USING fts5(
            tags, sender, recipients, subject, files, body, content='', columnsize=0,
            tokenize='unicode61 remove_diacritics 2');
          """)
        try database.setUserVersion(version)
      }
      try database.commit()
    } catch {
      database.rollback()
      throw error
    }
  }

  // MARK: Writing

  /// See `SearchIndex`.
  public func add(_ documents: [SearchDocument]) async throws(MailStoreError) {
    guard !documents.isEmpty else { return }
    try await writer.run { database in for document in documents { try Self.add(document, database) } }
  }

  private static func add(_ document: SearchDocument, _ database: Database) throws {
    let stored = Stored(document)
    // Most are new, and nobody else has their microsecond: inserting says so by itself.
    var row = document.received.microseconds
    while try !insert(document, stored, row: row, database) {
      if let present = try find(document.id, document.mailbox, database) {
        if present.stored == stored { return }
        try remove(present.row, present.stored, database)
      } else {
        row &+= 1
      }
    }
    try database.run(
      "INSERT INTO words(rowid, tags, sender, recipients, subject, files, body) VALUES(?1,?2,?3,?4,?5,?6,?7)"
    ) { stored.bind($0, row: row, isForIndex: true) }
  }

  /// Keeps the texts; false if the row is taken, or the mailbox has the document already.
  private static func insert(
    _ document: SearchDocument, _ stored: Stored, row: Int64, _ database: Database
  ) throws -> Bool {
    try database.run(
      """
      INSERT INTO documents(row, mailbox, id, tags, sender, recipients, subject, files, body)
      VALUES(?1,?8,?9,?2,?3,?4,?5,?6,?7) ON CONFLICT DO NOTHING
      """
    ) {
      stored.bind($0, row: row, isForIndex: false)
      $0.bind(8, document.mailbox)
      $0.bind(9, document.id.description)
    }
    return database.changes > 0
  }

  /// See `SearchIndex`.
  public func remove(_ ids: [MessageID], of mailbox: Int64) async throws(MailStoreError) {
    try await writer.run { database in
      for id in ids {
        if let present = try Self.find(id, mailbox, database) {
          try Self.remove(present.row, present.stored, database)
        }
      }
    }
  }

  /// See `SearchIndex`.
  public func removeAll(of mailbox: Int64) async throws(MailStoreError) -> Int {
    let atOnce = 200
    var sum = 0
    while true {
      let count = try await writer.run { database in
        let found = try database.rows(
          """
          SELECT row, tags, sender, recipients, subject, files, body FROM documents WHERE mailbox=?1 LIMIT ?2
          """,
          {
            $0.bind(1, mailbox)
            $0.bind(2, atOnce)
          }
        ) { row in (row: row.int(0), stored: Stored((1...6).map { row.text($0) })) }
        for document in found { try Self.remove(document.row, document.stored, database) }
        return found.count
      }
      sum += count
      if count < atOnce { return sum }
    }
  }

  private static func remove(_ row: Int64, _ stored: Stored, _ database: Database) throws {
    // A table without content has to be told what it forgets.
    try database.run(
      """
      INSERT INTO words(words, rowid, tags, sender, recipients, subject, files, body)
      VALUES('delete',?1,?2,?3,?4,?5,?6,?7)
      """
    ) { stored.bind($0, row: row, isForIndex: true) }
    try database.run("DELETE FROM documents WHERE row=?1") { $0.bind(1, row) }
  }

  private static func find(_ id: MessageID, _ mailbox: Int64, _ database: Database) throws -> (
    row: Int64, stored: Stored
  )? {
    try database.first(
      """
      SELECT row, tags, sender, recipients, subject, files, body FROM documents WHERE mailbox=?1 AND id=?2
      """,
      {
        $0.bind(1, mailbox)
        $0.bind(2, id.description)
      }, { row in (row.int(0), Stored((1...6).map { row.text($0) })) })
  }

  /// The texts of a document, in the order of the columns.
  private struct Stored: Equatable {
    let texts: [String]

    init(_ texts: [String]) { self.texts = texts }

    init(_ document: SearchDocument) {
      var tags = FTSExpression.owner(document.mailbox)
      if document.hasAttachment { tags += " " + FTSExpression.attachment }
      var body = document.text
      if body.utf8.count > SearchDocument.maximumText {
        body = String(decoding: body.utf8.prefix(SearchDocument.maximumText), as: UTF8.self)
      }
      texts = [
        tags, document.from, document.to, document.subject, document.attachments.joined(separator: " "), body,
      ]
    }

    /// Row as the first, then the texts.
    func bind(_ statement: Statement, row: Int64, isForIndex: Bool) {
      statement.bind(1, row)
      for (index, text) in texts.enumerated() {
        statement.bind(Int32(index + 2), isForIndex ? SearchWords.segmented(text) : text)
      }
    }
  }

  // MARK: Reading

  /// See `SearchIndex`.
  public func search(
    _ query: SearchQuery, in mailbox: Int64, after cursor: Int64?, limit: Int
  ) async throws(MailStoreError) -> [SearchHit] {
    let first = query.after?.microseconds ?? .min
    let end = min(cursor ?? .max, query.before?.microseconds ?? .max)
    let expression = FTSExpression.text(query, owner: mailbox)
    return try await reader.run { database in
      try database.rows(
        """
        SELECT words.rowid, documents.id, documents.body FROM words JOIN documents ON documents.row = words.rowid
        WHERE words MATCH ?1 AND words.rowid >= ?2 AND words.rowid < ?3 AND documents.mailbox = ?4
        ORDER BY words.rowid DESC LIMIT ?5
        """,
        {
          $0.bind(1, expression)
          $0.bind(2, first)
          $0.bind(3, end)
          $0.bind(4, mailbox)
          $0.bind(5, max(1, min(limit, 1000)))
        }
      ) { row in
        MessageID(row.text(1)).map { SearchHit(id: $0, cursor: row.int(0), snippet: Snippet.make(row.text(2), query)) }
      }
      .compactMap { $0 }
    }
  }

  /// See `SearchIndex`.
  public func probe() async throws(MailStoreError) {
    _ = try await writer.run { database in try database.userVersion() }
    _ = try await reader.run { database in try database.userVersion() }
  }

  /// See `SearchIndex`.
  public func close() async {
    await writer.close()
    await reader.close()
  }
}

/// A query in the language of FTS5 (its documentation, "Full-text Query Syntax"). What people write is quoted: none of
/// it is taken for an operator.
enum FTSExpression {
  static let attachment = "hasattachment"
  static func owner(_ mailbox: Int64) -> String { "mailbox\(mailbox)" }

  static func text(_ query: SearchQuery, owner mailbox: Int64) -> String {
    var wanted = ["{tags}: \"\(owner(mailbox))\""]
    var unwanted: [String] = []
    if query.hasAttachment == true { wanted.append("{tags}: \"\(attachment)\"") }
    if query.hasAttachment == false { unwanted.append("{tags}: \"\(attachment)\"") }
    for term in query.terms {
      if term.isNegated { unwanted.append(self.term(term)) } else { wanted.append(self.term(term)) }
    }
    let text = wanted.joined(separator: " AND ")
    return unwanted.isEmpty ? text : "(\(text)) NOT (\(unwanted.joined(separator: " OR ")))"
  }

  private static func term(_ term: SearchQuery.Term) -> String {
    let words = SearchWords.segmented(term.text).split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let phrase = "\"" + words.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    // One of a run of such characters is found by the pairs that it begins.
    let isOpen =
      term.isPrefix || (words.unicodeScalars.count == 1 && words.unicodeScalars.allSatisfy(SearchWords.isPaired))
    return "{\(columns(term.field))}: \(phrase)\(isOpen ? " *" : "")"
  }

  private static func columns(_ field: SearchQuery.Field) -> String {
    switch field {
    case .any: "sender recipients subject files body"
    case .from: "sender"
    case .to: "recipients"
    case .subject: "subject"
    case .filename: "files"
    }
  }
}

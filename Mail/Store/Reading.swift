import OpenSSL
public import Pipeline
import SQLite

extension MailStore {
  /// The folders of a mailbox, in the order in which they were made.
  public func folders(of mailbox: Mailbox) async throws(MailStoreError) -> [Folder] {
    try await reader.run { try Self.folders(of: mailbox.id, $0) }
  }

  static func folders(of user: Int64, _ database: Database) throws -> [Folder] {
    try database.rows(
      "SELECT id, name, role, total, unread, uidvalidity, uidnext, modseq FROM folders WHERE user=?1 ORDER BY id",
      { $0.bind(1, user) }
    ) {
      Folder(
        id: $0.int(0), name: $0.text(1), role: $0.optionalText(2).flatMap { FolderRole(rawValue: $0) },
        total: Int($0.int(3)), unread: Int($0.int(4)), uidValidity: $0.int(5), uidNext: $0.int(6),
        changeCounter: $0.int(7))
    }
  }

  /// Messages of a mailbox, the newest first.
  ///
  /// - Parameters:
  ///   - folder: only of this folder; one of another mailbox is empty.
  ///   - thread: only of this conversation.
  ///   - cursor: only those behind it.
  ///   - limit: how many at most, 1 to 1000.
  public func messages(
    of mailbox: Mailbox, folder: Int64? = nil, thread: Int64? = nil, after cursor: MessageCursor? = nil, limit: Int
  ) async throws(MailStoreError) -> [MailboxMessage] {
    let limit = max(1, min(limit, 1000))
    let start = cursor ?? MessageCursor(received: .max, row: .max)
    return try await reader.run { database in
      // A query each rather than one with an `OR`: each has an index that gives the order. A conversation has few
      // messages: of those, the folder is looked at.
      let filter =
        thread != nil
        ? "user=?1 AND thread=?6" + (folder == nil ? "" : " AND +folder=?4")
        : folder == nil ? "user=?1" : "folder=?4 AND user=?1"
      return try database.rows(
        "\(Self.messageColumns) WHERE \(filter) AND (received, row) < (?2, ?3) ORDER BY received DESC, row DESC LIMIT ?5",
        {
          $0.bind(1, mailbox.id)
          $0.bind(2, start.received)
          $0.bind(3, start.row)
          if let folder { $0.bind(4, folder) }
          $0.bind(5, limit)
          if let thread { $0.bind(6, thread) }
        }, Self.message
      ).compactMap { $0 }
    }
  }

  /// One message; nil: this mailbox has none of that id.
  public func message(_ id: MessageID, of mailbox: Mailbox) async throws(MailStoreError) -> MailboxMessage? {
    try await reader.run { database in
      try database.first(
        "\(Self.messageColumns) WHERE user=?1 AND id=?2",
        {
          $0.bind(1, mailbox.id)
          $0.bind(2, id.description)
        }, Self.message) ?? nil
    }
  }

  /// Those of the messages that this mailbox has, by id.
  public func messages(
    _ ids: [MessageID], of mailbox: Mailbox
  ) async throws(MailStoreError) -> [MessageID: MailboxMessage] {
    guard !ids.isEmpty else { return [:] }
    return try await reader.run { database in
      var found: [MessageID: MailboxMessage] = [:]
      for id in ids {
        found[id] =
          try database.first(
            "\(Self.messageColumns) WHERE user=?1 AND id=?2",
            {
              $0.bind(1, mailbox.id)
              $0.bind(2, id.description)
            }, Self.message) ?? nil
      }
      return found
    }
  }

  /// A message as it is kept: our trace headers, then what was received, byte for byte. Nil: this mailbox has none of
  /// that id.
  ///
  /// - Throws: `damaged` if the content is not what was stored (its SHA-256 differs) or is gone; `busy` if it is large, and
  ///   so much of large content is held by others that it would be too much memory.
  public func raw(_ id: MessageID, of mailbox: Mailbox) async throws(MailStoreError) -> Bytes? {
    let found = try await reader.run { [recent] in try Self.kept(id, of: mailbox.id, $0, recent) }
    return if let found { try await whole(found, id) } else { nil }
  }

  /// Every copy of the message that carries this Message-ID, at most `limit`, the newest first: where it is, and whose.
  public func find(messageID: String, limit: Int = 100) async throws(MailStoreError) -> [StoredMessage] {
    try await reader.run { database in
      try database.rows(
        "SELECT id, folder, uid FROM messages WHERE message_id=?1 ORDER BY row DESC LIMIT ?2",
        {
          $0.bind(1, messageID)
          $0.bind(2, max(1, min(limit, 1000)))
        }
      ) { row in MessageID(row.text(0)).map { StoredMessage(id: $0, folder: row.int(1), uid: row.int(2)) } }
      .compactMap { $0 }
    }
  }

  /// Where copies are that `store` has noted; nil for one that is not there any more.
  public func places(of copies: [StoredCopy]) async throws(MailStoreError) -> [StoredPlace?] {
    guard !copies.isEmpty else { return [] }
    let names = copies.map { ($0.mailbox.normalized, $0.id) }
    return try await reader.run { database in
      try names.map { address, id in
        try database.first(
          """
          SELECT messages.user, messages.received FROM messages JOIN users ON users.id = messages.user
          WHERE users.address=?1 AND messages.id=?2
          """,
          {
            $0.bind(1, address)
            $0.bind(2, id.description)
          }, { StoredPlace(mailbox: $0.int(0), id: id, received: Timestamp(microseconds: $0.int(1))) })
      }
    }
  }

  private static let messageColumns = """
    SELECT id, folder, uid, flags, received, size, message_id, sender, recipients, subject, date, preview, attachment, row,
      thread
    FROM messages
    """

  /// Nil for an id that cannot be read, which nothing of ours has written.
  private static func message(_ row: Statement) -> MailboxMessage? {
    guard let id = MessageID(row.text(0)) else { return nil }
    let received = row.int(4)
    return MailboxMessage(
      id: id, folder: row.int(1), uid: row.int(2), flags: MessageFlags(rawValue: row.int(3)),
      received: Timestamp(microseconds: received), size: Int(row.int(5)), thread: row.int(14),
      summary: MessageSummary(
        messageID: row.optionalText(6), from: row.text(7), to: row.text(8), subject: row.text(9),
        date: row.optionalInt(10).map { Timestamp(microseconds: $0) }, preview: row.text(11),
        hasAttachment: row.int(12) != 0),
      cursor: MessageCursor(received: received, row: row.int(13)))
  }
}

import OpenSSL
public import Pipeline
import SQLite

/// Received bytes that are ready to be stored: hashed and, if large, already in the content store.
public struct PreparedContent: Sendable {
  let digest: [UInt8]
  let size: Int
  /// Nil: in the content store.
  let bytes: Bytes?
}

/// One message for one mailbox.
public struct Delivery: Sendable {
  /// Whose mailbox.
  public var mailbox: Mailbox
  /// Into which folder.
  public var folder: FolderRole
  /// The id under which the mailbox shall know it.
  public var id: MessageID
  /// The id of the message that it was made of; the same as `id` if it is no part.
  public var origin: MessageID
  /// What comes before the content in this mailbox only: `Return-Path` and our trace headers, in whole lines.
  public var prefix: Bytes
  /// What was received.
  public var content: PreparedContent
  /// What lists show.
  public var summary: MessageSummary
  /// Its flags at first.
  public var flags: MessageFlags
  /// When it was received (INTERNALDATE).
  public var received: Timestamp
  /// Whether it is stored even if the mailbox is full, as mail to the postmaster is.
  public var isExemptFromQuota: Bool

  /// A message for a mailbox.
  public init(
    mailbox: Mailbox, folder: FolderRole = .inbox, id: MessageID, origin: MessageID? = nil, prefix: Bytes = .empty,
    content: PreparedContent, summary: MessageSummary, flags: MessageFlags = [], received: Timestamp,
    isExemptFromQuota: Bool = false
  ) {
    self.mailbox = mailbox
    self.folder = folder
    self.id = id
    self.origin = origin ?? id
    self.prefix = prefix
    self.content = content
    self.summary = summary
    self.flags = flags
    self.received = received
    self.isExemptFromQuota = isExemptFromQuota
  }
}

/// What became of a delivery.
public enum DeliveryResult: Sendable, Hashable {
  /// It is in the mailbox.
  case stored(StoredMessage)
  /// It had been there before, from an earlier try; nothing was changed.
  case repeated(StoredMessage)
  /// It does not fit: bytes in use, and how many are allowed.
  case overQuota(used: Int64, quota: Int64)
  /// The mailbox does not exist any more.
  case noMailbox
}

/// Where a message is.
public struct StoredMessage: Sendable, Hashable {
  /// The id under which the mailbox knows it.
  public let id: MessageID
  /// The folder.
  public let folder: Int64
  /// Its UID in the folder.
  public let uid: Int64
}

extension MailStore {
  /// Makes content ready for `store`; large content is durable on return, and unreachable until a delivery names it.
  public func prepare(_ bytes: Bytes) async throws(MailStoreError) -> PreparedContent {
    guard bytes.count > Self.inlineLimit else {
      return PreparedContent(digest: SHA256.hash(bytes).bytes, size: bytes.count, bytes: bytes)
    }
    do {
      let reference = try await largeContent.put(bytes)
      guard let digest = Digest256(hex: reference.digest) else {
        throw MailStoreError(.damaged, "mail store: the content store answered with \(reference.digest)")
      }
      return PreparedContent(digest: digest.bytes, size: reference.size, bytes: nil)
    } catch { throw MailStoreError(error) }
  }

  /// Stores messages, all in one transaction: on return those with the result `.stored` are durable, on an error none.
  ///
  /// A message is in a mailbox once, whatever is repeated: it is recognised by its id or its origin, never by its
  /// Message-ID header, which anybody can forge. One that was deleted since is not recognised.
  public func store(_ deliveries: [Delivery]) async throws(MailStoreError) -> [DeliveryResult] {
    guard !deliveries.isEmpty else { return [] }
    return try await writer.run { database in try deliveries.map { try Self.store($0, database) } }
  }

  private static func store(_ delivery: Delivery, _ database: Database) throws -> DeliveryResult {
    let user = delivery.mailbox.id
    let id = delivery.id.description
    let origin = delivery.origin.description
    let present = try database.first(
      "SELECT id, folder, uid FROM messages WHERE user=?1 AND (origin=?2 OR id=?3)",
      {
        $0.bind(1, user)
        $0.bind(2, origin)
        $0.bind(3, id)
      }, { StoredMessage(id: MessageID($0.text(0)) ?? delivery.id, folder: $0.int(1), uid: $0.int(2)) })
    if let present { return .repeated(present) }

    let space = try database.first("SELECT quota, used FROM users WHERE id=?1", { $0.bind(1, user) }) {
      (quota: $0.optionalInt(0), used: $0.int(1))
    }
    guard let space else { return .noMailbox }
    let size = Int64(delivery.prefix.count) + Int64(delivery.content.size)
    if let quota = space.quota, !delivery.isExemptFromQuota, space.used > quota || size > quota - space.used {
      return .overQuota(used: space.used, quota: quota)
    }
    let folder = try database.first(
      """
      UPDATE folders SET uidnext=uidnext+1, total=total+1, unread=unread+?3, modseq=modseq+1 WHERE user=?1 AND role=?2
      RETURNING id, uidnext-1, modseq
      """,
      {
        $0.bind(1, user)
        $0.bind(2, delivery.folder.rawValue)
        $0.bind(3, delivery.flags.contains(.seen) ? 0 : 1)
      }, { (id: $0.int(0), uid: $0.int(1), modseq: $0.int(2)) })
    guard let folder else {
      throw MailStoreError(.damaged, "mail store: \(delivery.mailbox.address) has no folder \(delivery.folder)")
    }
    let change = try database.first(
      "UPDATE users SET used=used+?2, modseq=modseq+1 WHERE id=?1 RETURNING modseq",
      {
        $0.bind(1, user)
        $0.bind(2, size)
      }, { $0.int(0) })
    let names = [delivery.summary.messageID].compactMap { $0 } + delivery.summary.references
    let thread = try Threads.thread(names, user: user, new: change ?? 0, database)
    let content = try self.content(delivery.content, database)
    try insert(delivery, folder, size, content, thread, database)
    return .stored(StoredMessage(id: delivery.id, folder: folder.id, uid: folder.uid))
  }

  /// The row of the content, made if this digest is new.
  private static func content(_ content: PreparedContent, _ database: Database) throws -> Int64 {
    let digest = content.digest
    if let row = try database.first("SELECT id FROM contents WHERE digest=?1", { $0.bind(1, digest) }, { $0.int(0) }) {
      return row
    }
    let statement = try database.statement("INSERT INTO contents(digest, size, bytes) VALUES(?1,?2,?3)")
    statement.bind(1, digest)
    statement.bind(2, content.size)
    if let bytes = content.bytes {
      try bytes.withUnsafeBytes { buffer in
        statement.bind(3, borrowing: buffer)
        try statement.run()
        statement.bindNull(3)
      }
    } else {
      statement.bindNull(3)
      try statement.run()
    }
    return database.lastInsertRowID
  }

  private static func insert(
    _ delivery: Delivery, _ folder: (id: Int64, uid: Int64, modseq: Int64), _ size: Int64, _ content: Int64,
    _ thread: Int64, _ database: Database
  ) throws {
    let summary = delivery.summary
    try database.run(
      """
      INSERT INTO messages(user, folder, uid, id, origin, flags, received, modseq, size, message_id, sender, recipients,
        subject, date, preview, attachment, content, prefix, thread)
      VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)
      """
    ) {
      $0.bind(1, delivery.mailbox.id)
      $0.bind(2, folder.id)
      $0.bind(3, folder.uid)
      $0.bind(4, delivery.id.description)
      $0.bind(5, delivery.origin.description)
      $0.bind(6, delivery.flags.rawValue)
      $0.bind(7, delivery.received.microseconds)
      $0.bind(8, folder.modseq)
      $0.bind(9, size)
      $0.bind(10, optional: summary.messageID)
      $0.bind(11, summary.from)
      $0.bind(12, summary.to)
      $0.bind(13, summary.subject)
      $0.bind(14, optional: summary.date?.microseconds)
      $0.bind(15, summary.preview)
      $0.bind(16, summary.hasAttachment ? 1 : 0)
      $0.bind(17, content)
      $0.bind(18, Array(delivery.prefix))
      $0.bind(19, thread)
    }
  }
}

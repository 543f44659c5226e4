import Pipeline
import SQLite

/// What goes with a user, or would.
public struct UserRemoval: Sendable, Hashable {
  /// The mailbox.
  public let mailbox: Mailbox
  /// Messages in it.
  public internal(set) var messages = 0
  /// Bytes of them.
  public internal(set) var bytes: Int64 = 0
  /// What no other mailbox has, kept in the database: its room there is used again.
  public internal(set) var freed = 0
  /// What no other mailbox has, kept in the content store: it stays there for garbage collection to decide, since waiting
  /// and dead messages may name it too.
  public internal(set) var left = 0
}

/// A user as `mailflow user list` shows it.
public struct UserOverview: Sendable, Hashable {
  /// The user.
  public let user: UserRecord
  /// Messages in the mailbox.
  public let messages: Int
  /// Tokens that are valid.
  public let tokens: Int
  /// Whether there is a password.
  public let hasPassword: Bool
}

extension MailStore {
  /// The most messages that are removed in one transaction: mail arrives between two.
  private static let removedAtOnce = 500

  /// Every user in order of address, at most 100,000.
  public func overview() async throws(MailStoreError) -> [UserOverview] {
    try await reader.run { database in
      try database.rows(
        """
        SELECT id, address, quota, used, created, password IS NOT NULL,
          (SELECT coalesce(sum(total), 0) FROM folders WHERE user=users.id),
          (SELECT count(*) FROM tokens WHERE user=users.id)
        FROM users ORDER BY address LIMIT 100000
        """
      ) { row in
        Self.read(row).map {
          UserOverview(
            user: $0, messages: Int(row.int(6)), tokens: Int(row.int(7)), hasPassword: row.int(5) != 0)
        }
      }.compactMap { $0 }
    }
  }

  /// What the removal of a user would take along; nil: there is no such user.
  public func removal(of address: EmailAddress) async throws(MailStoreError) -> UserRemoval? {
    let name = address.normalized
    return try await reader.run { database in
      guard let user = try Self.user(named: name, database) else { return nil }
      let id = user.mailbox.id
      var removal = UserRemoval(mailbox: user.mailbox, bytes: user.used)
      removal.messages =
        try database.first("SELECT count(*) FROM messages WHERE user=?1", { $0.bind(1, id) }, { Int($0.int(0)) }) ?? 0
      let own = try database.first(
        """
        SELECT coalesce(sum(bytes IS NOT NULL), 0), coalesce(sum(bytes IS NULL), 0) FROM contents
        WHERE id IN (SELECT content FROM messages WHERE user=?1)
          AND NOT EXISTS (SELECT 1 FROM messages WHERE content=contents.id AND user<>?1)
        """, { $0.bind(1, id) }, { (Int($0.int(0)), Int($0.int(1))) })
      (removal.freed, removal.left) = own ?? (0, 0)
      return removal
    }
  }

  /// Removes a user, with folders, messages, tokens and password; nil: there is no such user.
  ///
  /// In many transactions, so that others get on meanwhile: the user is there until the last one, and a removal that was
  /// interrupted is made good by another.
  public func removeUser(_ address: EmailAddress) async throws(MailStoreError) -> UserRemoval? {
    let name = address.normalized
    var whole: UserRemoval?
    while true {
      let step = try await writer.run { try Self.removeSome(of: name, $0) }
      guard let step else { return whole }
      var sum = whole ?? UserRemoval(mailbox: step.removal.mailbox)
      sum.messages += step.removal.messages
      sum.bytes += step.removal.bytes
      sum.freed += step.removal.freed
      sum.left += step.removal.left
      whole = sum
      if step.isLast { return whole }
    }
  }

  /// Some messages of a user, or the last of them and the user.
  private static func removeSome(
    of name: String, _ database: Database
  ) throws -> (removal: UserRemoval, isLast: Bool)? {
    guard let mailbox = try user(named: name, database)?.mailbox else { return nil }
    let rows = try database.rows(
      "SELECT row FROM messages WHERE user=?1 LIMIT \(removedAtOnce)", { $0.bind(1, mailbox.id) }, { $0.int(0) })
    var removal = UserRemoval(mailbox: mailbox)
    for row in rows { try remove(row, &removal, database) }
    guard rows.count < removedAtOnce else { return (removal, false) }
    // Folders, tokens and conversations go with it.
    try database.run("DELETE FROM users WHERE id=?1") { $0.bind(1, mailbox.id) }
    return (removal, true)
  }

  /// Takes a message out of its folder and mailbox, and frees what nobody else has of it.
  private static func remove(_ row: Int64, _ removal: inout UserRemoval, _ database: Database) throws {
    let removed = try database.first(
      "DELETE FROM messages WHERE row=?1 RETURNING user, folder, size, flags, content",
      { $0.bind(1, row) }
    ) { (user: $0.int(0), folder: $0.int(1), size: $0.int(2), flags: $0.int(3), content: $0.int(4)) }
    guard let removed else { return }
    removal.messages += 1
    removal.bytes += removed.size
    try database.run("UPDATE users SET used=used-?2, modseq=modseq+1 WHERE id=?1") {
      $0.bind(1, removed.user)
      $0.bind(2, removed.size)
    }
    try database.run("UPDATE folders SET total=total-1, unread=unread-?2, modseq=modseq+1 WHERE id=?1") {
      $0.bind(1, removed.folder)
      $0.bind(2, MessageFlags(rawValue: removed.flags).contains(.seen) ? 0 : 1)
    }
    let content = try database.first(
      """
      DELETE FROM contents WHERE id=?1 AND NOT EXISTS (SELECT 1 FROM messages WHERE content=?1)
      RETURNING bytes IS NULL
      """, { $0.bind(1, removed.content) }, { $0.int(0) != 0 })
    switch content {
    case true?: removal.left += 1
    case false?: removal.freed += 1
    case nil: break
    }
  }
}

import OpenSSL
public import Pipeline
import SQLite

/// What the store knows about a user.
public struct UserRecord: Sendable, Hashable {
  /// The user's mailbox.
  public let mailbox: Mailbox
  /// The most bytes of mail; nil: no limit.
  public let quota: Int64?
  /// Bytes of mail in the mailbox.
  public let used: Int64
  /// When it was added.
  public let created: Timestamp

  /// Whether nothing more fits.
  public var isFull: Bool { quota.map { used >= $0 } ?? false }
}

extension MailStore {
  /// Passwords are checked here: each takes 32 MiB and a tenth of a second, so two at a time.
  private static let passwordThreads = ThreadPool(threads: 2)
  /// Of a password that nobody knows: an unknown user takes as long as a wrong password.
  private static let nobody = try? PasswordHash.make(hexadecimal(randomBytes(16)))

  /// Adds a user with a folder of each role, or finds the one that there is, unchanged.
  ///
  /// - Parameters:
  ///   - password: in the clear; nil: nobody can log in by password.
  ///   - quota: the most bytes of mail; nil: no limit.
  public func addUser(
    _ address: EmailAddress, password: String? = nil, quota: Int64? = nil
  ) async throws(MailStoreError) -> (user: UserRecord, wasAdded: Bool) {
    let name = address.normalized
    if let user = try await user(address) { return (user, false) }
    let hash = try await Self.hash(password)
    let now = clock.now
    return try await writer.run { database in
      if let user = try Self.user(named: name, database) { return (user, false) }
      try database.run("INSERT INTO users(address, password, quota, created) VALUES(?1,?2,?3,?4)") {
        $0.bind(1, name)
        $0.bind(2, optional: hash)
        $0.bind(3, optional: quota.map { max(0, $0) })
        $0.bind(4, now.microseconds)
      }
      let id = database.lastInsertRowID
      // Seconds since 1970 as UIDVALIDITY, within its 32 bits and never 0: a folder made anew gets a later one.
      let validity = max(1, now.milliseconds / 1000 & 0xFFFF_FFFF)
      for role in FolderRole.allCases {
        try database.run("INSERT INTO folders(user, name, role, uidvalidity) VALUES(?1,?2,?3,?4)") {
          $0.bind(1, id)
          $0.bind(2, role.defaultName)
          $0.bind(3, role.rawValue)
          $0.bind(4, validity)
        }
      }
      guard let user = try Self.user(named: name, database) else {
        throw MailStoreError(.damaged, "mail store: \(name) is not an address that can be stored")
      }
      return (user, true)
    }
  }

  /// The user of that address; nil: there is none.
  public func user(_ address: EmailAddress) async throws(MailStoreError) -> UserRecord? {
    let name = address.normalized
    return try await reader.run { try Self.user(named: name, $0) }
  }

  /// Every user, in order of addition, at most 100,000.
  public func users() async throws(MailStoreError) -> [UserRecord] {
    try await reader.run { database in
      try database.rows("\(Self.userColumns) ORDER BY id LIMIT 100000", { _ in }, Self.read).compactMap { $0 }
    }
  }

  /// Changes a user's quota in bytes; nil: no limit. False: there is no such user.
  public func setQuota(_ quota: Int64?, of address: EmailAddress) async throws(MailStoreError) -> Bool {
    let name = address.normalized
    return try await writer.run { database in
      try database.run("UPDATE users SET quota=?2 WHERE address=?1") {
        $0.bind(1, name)
        $0.bind(2, optional: quota.map { max(0, $0) })
      }
      return database.changes > 0
    }
  }

  /// Changes a user's password; nil: nobody can log in by password. False: there is no such user.
  public func setPassword(_ password: String?, of address: EmailAddress) async throws(MailStoreError) -> Bool {
    let name = address.normalized
    let hash = try await Self.hash(password)
    return try await writer.run { database in
      try database.run("UPDATE users SET password=?2 WHERE address=?1") {
        $0.bind(1, name)
        $0.bind(2, optional: hash)
      }
      return database.changes > 0
    }
  }

  /// The mailbox of a user whose password this is; nil: unknown user or wrong password, after the same time.
  public func logIn(_ address: EmailAddress, password: String) async throws(MailStoreError) -> Mailbox? {
    let name = address.normalized
    let found = try await reader.run { database in
      try database.first("SELECT id, password FROM users WHERE address=?1", { $0.bind(1, name) }) {
        (id: $0.int(0), hash: $0.optionalText(1))
      }
    }
    let isRight = await Self.verify(password, found?.hash)
    guard isRight, let found, found.hash != nil, let address = EmailAddress(name, allowingUTF8: true) else {
      return nil
    }
    return Mailbox(id: found.id, address: address)
  }

  // MARK: Tokens

  /// A new bearer token for the user: 64 characters, 256 random bits. Only its digest is stored; nil: no such user.
  ///
  /// - Parameter name: what its owner calls it, at most 100 characters.
  public func addToken(_ name: String, for address: EmailAddress) async throws(MailStoreError) -> String? {
    let token: String
    do { token = hexadecimal(try randomBytes(32)) } catch { throw MailStoreError(error) }
    let digest = Self.digest(of: token)
    let owner = address.normalized
    let now = clock.now
    return try await writer.run { database in
      try database.run(
        "INSERT INTO tokens(digest, user, name, created) SELECT ?1, id, ?3, ?4 FROM users WHERE address=?2"
      ) {
        $0.bind(1, digest)
        $0.bind(2, owner)
        $0.bind(3, String(name.prefix(100)))
        $0.bind(4, now.microseconds)
      }
      return database.changes > 0 ? token : nil
    }
  }

  /// The mailbox whose owner holds this token; nil: nobody does.
  public func mailbox(token: String) async throws(MailStoreError) -> Mailbox? {
    guard token.utf8.count == 64 else { return nil }
    let digest = Self.digest(of: token)
    return try await reader.run { try Self.owner(of: digest, $0) }
  }

  // Found by its digest, so the time of the look-up says nothing about the token.
  static func owner(of digest: [UInt8], _ database: Database) throws -> Mailbox? {
    try database.first(
      "SELECT users.id, users.address FROM tokens JOIN users ON users.id = tokens.user WHERE digest=?1",
      { $0.bind(1, digest) }
    ) { row in
      EmailAddress(row.text(1), allowingUTF8: true).map { Mailbox(id: row.int(0), address: $0) }
    } ?? nil
  }

  /// Asks for something of the mailbox whose owner holds this token, in one visit to the database; nil: nobody does.
  func visit<R: Sendable>(
    token: String, _ body: @escaping @Sendable (Mailbox, Database) throws -> R
  ) async throws(MailStoreError) -> R? {
    guard token.utf8.count == 64 else { return nil }
    let digest = Self.digest(of: token)
    return try await reader.run { database in
      try Self.owner(of: digest, database).map { try body($0, database) }
    }
  }

  /// The folders of the mailbox whose owner holds this token; nil: nobody does.
  public func folders(token: String) async throws(MailStoreError) -> [Folder]? {
    try await visit(token: token) { owner, database in try Self.folders(of: owner.id, database) }
  }

  /// A message of the mailbox whose owner holds this token, for those who send it on. Throws like `raw(_:of:)`.
  ///
  /// - Returns: nil if nobody holds it; `.some(nil)` if the mailbox has no such message.
  public func raw(_ id: MessageID, token: String) async throws(MailStoreError) -> RawMessage?? {
    let visited = try await visit(token: token) { [recent] owner, database in
      try Self.kept(id, of: owner.id, database, recent)
    }
    guard let found = visited else { return nil }
    return if let found { .some(try await raw(found, id)) } else { .some(nil) }
  }

  // MARK: Parts

  static let userColumns = "SELECT id, address, quota, used, created FROM users"

  static func user(named name: String, _ database: Database) throws -> UserRecord? {
    try database.first("\(userColumns) WHERE address=?1", { $0.bind(1, name) }, read) ?? nil
  }

  /// Nil for an address that cannot be read, which nothing of ours has written.
  static func read(_ row: Statement) -> UserRecord? {
    EmailAddress(row.text(1), allowingUTF8: true).map {
      UserRecord(
        mailbox: Mailbox(id: row.int(0), address: $0), quota: row.optionalInt(2), used: row.int(3),
        created: Timestamp(microseconds: row.int(4)))
    }
  }

  private static func digest(of token: String) -> [UInt8] { SHA256.hash(Array(token.utf8)).bytes }

  private static func hash(_ password: String?) async throws(MailStoreError) -> String? {
    guard let password else { return nil }
    guard (1...1024).contains(password.utf8.count) else {
      throw MailStoreError(.invalid, "a password has 1 to 1024 bytes")
    }
    do {
      return try await withTaskExecutorPreference(passwordThreads) { try await makeHash(password) }
    } catch { throw MailStoreError(error) }
  }

  private static func verify(_ password: String, _ stored: String?) async -> Bool {
    await withTaskExecutorPreference(passwordThreads) { await isPassword(password, stored) }
  }

  @concurrent private static func makeHash(_ password: String) async throws -> String {
    try PasswordHash.make(password)
  }
  @concurrent private static func isPassword(_ password: String, _ stored: String?) async -> Bool {
    // Longer ones are never made, and only their first 1024 bytes would count.
    password.utf8.count <= 1024 && PasswordHash.verify(password, stored ?? nobody ?? "")
  }
}

/// Whom an address belongs to: asked for every recipient while the sending server waits.
///
/// Nothing is cached: a look-up costs a few microseconds on an index, less than asking whether a cache is still true,
/// and mail that another process stores or a user that the command line adds counts at once.
public struct MailDirectory: Sendable {
  /// What an address is.
  public enum Resolution: Sendable, Hashable {
    /// A mailbox that takes mail.
    case mailbox(Mailbox)
    /// Its domain is ours, and nobody has it.
    case unknownUser
    /// Its domain is not ours.
    case notOurs
    /// A mailbox with no room.
    case overQuota(Mailbox)

    /// The mailbox, with or without room.
    public var mailbox: Mailbox? {
      switch self {
      case .mailbox(let mailbox), .overQuota(let mailbox): mailbox
      case .unknownUser, .notOurs: nil
      }
    }
  }

  private let store: MailStore
  private let domains: Set<String>
  private let postmaster: EmailAddress?

  /// The directory of the mailboxes in `store`.
  ///
  /// - Parameters:
  ///   - domains: ours, as in the topology; compared in lower case.
  ///   - postmaster: who gets mail to `postmaster@` any of them. Unless given, or if there is no such user, it is the
  ///     user of that very address, else the one who was added first.
  public init(store: MailStore, domains: [String], postmaster: EmailAddress? = nil) {
    self.store = store
    self.domains = Set(domains.map { $0.lowercased() })
    self.postmaster = postmaster
  }

  /// Whether mail to the domain is for us.
  public func isOurs(_ domain: String) -> Bool { domains.contains(domain.lowercased()) }

  /// Whom an address belongs to. `postmaster@` is never full (RFC 5321 section 4.5.1).
  public func resolve(_ address: EmailAddress) async throws(MailStoreError) -> Resolution {
    try await resolve([address]).first ?? .unknownUser
  }

  /// Whom addresses belong to, in order: one visit to the database for all.
  public func resolve(_ addresses: [EmailAddress]) async throws(MailStoreError) -> [Resolution] {
    guard addresses.contains(where: { domains.contains($0.domain) }) else { return addresses.map { _ in .notOurs } }
    return try await store.reader.run { [ours = domains, postmaster] database in
      try addresses.map { address in
        guard ours.contains(address.domain) else { return .notOurs }
        if address.isPostmaster {
          for candidate in [postmaster, address] {
            if let name = candidate?.normalized, let user = try MailStore.user(named: name, database) {
              return .mailbox(user.mailbox)
            }
          }
          let first = try database.first("\(MailStore.userColumns) ORDER BY id LIMIT 1", { _ in }, MailStore.read)
          return (first ?? nil).map { .mailbox($0.mailbox) } ?? .unknownUser
        }
        guard let user = try MailStore.user(named: address.normalized, database) else { return .unknownUser }
        return user.isFull ? .overQuota(user.mailbox) : .mailbox(user.mailbox)
      }
    }
  }

  /// Whether the directory can be asked.
  public func probe() async throws(MailStoreError) { try await store.probe() }
}

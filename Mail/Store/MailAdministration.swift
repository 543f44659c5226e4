/// What `mailflow user` does.
public struct MailAdministration: Sendable {
  private let store: MailStore
  private let domains: [String]?

  /// Administration of `store`.
  ///
  /// - Parameter domains: the topology's, which users must belong to; nil: not checked.
  public init(store: MailStore, domains: [String]? = nil) {
    self.store = store
    self.domains = domains?.map { $0.lowercased() }
  }

  /// A user who was added, or was there.
  public struct AddedUser: Sendable, Hashable {
    /// The address as it is kept.
    public let address: String
    /// A new token, if one was wanted; it is shown this once.
    public let token: String?
    /// False: the user was there, and was left as it is.
    public let wasAdded: Bool
  }

  /// Adds a user, or finds the one that there is; makes a token if wanted, for either.
  ///
  /// - Throws: `MailStoreError.invalid` for an address or password that is none, or a domain that is not ours.
  public func addUser(
    _ address: String, password: String? = nil, quota: Int64? = nil, token: String? = nil
  ) async throws(MailStoreError) -> AddedUser {
    guard let parsed = EmailAddress(address, allowingUTF8: true) else {
      throw MailStoreError(.invalid, "“\(address.prefix(100))” is not an address; write it like alice@example.com")
    }
    if let domains, !domains.contains(parsed.domain) {
      let ours = domains.isEmpty ? "none" : domains.joined(separator: ", ")
      throw MailStoreError(
        .invalid, "\(parsed.domain) is not a domain of the topology (\(ours)); add it to `domains:` first")
    }
    let (user, wasAdded) = try await store.addUser(parsed, password: password, quota: quota)
    var made: String?
    if let token { made = try await store.addToken(token, for: parsed) }
    return AddedUser(address: user.mailbox.address.description, token: made, wasAdded: wasAdded)
  }
}

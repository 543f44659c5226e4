extension Resolver {
  /// Who takes mail for a domain, the most preferred first. See `isNull`. Throws `noData` for a domain that names
  /// nobody: then it is the domain's own address (RFC 5321 section 5.1).
  public func mx(of domain: DNSName) async throws(Failure) -> Answer<DNSRecord.MX> {
    let answer = try await records(.mx, of: domain)
    return answer.map { if case .mx(let mx) = $0 { mx } else { nil } }.sorted { $0.preference < $1.preference }
  }

  /// The texts of a name.
  public func txt(of name: DNSName) async throws(Failure) -> Answer<DNSRecord.TXT> {
    try await records(.txt, of: name).map { if case .txt(let text) = $0 { text } else { nil } }
  }

  /// The names of an address, as the owner of the address says: whether those have the address is to be asked.
  public func names(of address: IPAddress) async throws(Failure) -> Answer<DNSName> {
    try await records(.ptr, of: DNSName(reverseOf: address)).map { if case .ptr(let name) = $0 { name } else { nil } }
  }

  /// What a name is an alias of, by one step.
  public func alias(of name: DNSName) async throws(Failure) -> Answer<DNSName> {
    try await records(.cname, of: name).map { if case .cname(let name) = $0 { name } else { nil } }
  }

  /// The certificates and keys of the server on a TCP port of a machine (RFC 6698 section 3). They mean something only
  /// if the answer is secure; so does `noSuchName` or `noData`.
  public func tlsa(of host: DNSName, port: UInt16) async throws(Failure) -> Answer<DNSRecord.TLSA> {
    guard let name = host.below("_\(port)", "_tcp") else {
      // No such name can exist, which needs no proof.
      throw .noSuchName(Failure.Absence(name: host, security: .secure, ttl: .zero))
    }
    return try await records(.tlsa, of: name).map { if case .tlsa(let tlsa) = $0 { tlsa } else { nil } }
  }

  /// The IPv4 addresses of a machine.
  public func ipv4(of host: DNSName) async throws(Failure) -> Answer<IPAddress> {
    try await records(.a, of: host).map { if case .a(let address) = $0 { address } else { nil } }
  }

  /// The IPv6 addresses of a machine.
  public func ipv6(of host: DNSName) async throws(Failure) -> Answer<IPAddress> {
    try await records(.aaaa, of: host).map { if case .aaaa(let address) = $0 { address } else { nil } }
  }

  /// All addresses of a machine, IPv6 first; both are asked for at once.
  ///
  /// If one question fails and the other has an answer, that is the answer. If there is none, a failure that may pass
  /// comes before one that will not. Secure is only what is so in both, as far as they are answered.
  public func addresses(of host: DNSName) async throws(Failure) -> Answer<IPAddress> {
    async let six = result { () async throws(Failure) in try await ipv6(of: host) }
    async let four = result { () async throws(Failure) in try await ipv4(of: host) }
    return try Self.merged(await six, await four)
  }

  static func merged(
    _ six: Result<Answer<IPAddress>, Failure>, _ four: Result<Answer<IPAddress>, Failure>
  ) throws(Failure) -> Answer<IPAddress> {
    switch (six, four) {
    case (.success(let six), .success(let four)):
      return Answer(
        six.records + four.records, name: four.name, aliases: four.aliases, ttl: min(six.ttl, four.ttl),
        six.security == .secure && four.security == .secure ? .secure : .insecure)
    case (.success(let answer), .failure(let failure)), (.failure(let failure), .success(let answer)):
      let isSecure = answer.security == .secure && failure.absence?.security != .insecure
      return Answer(
        answer.records, name: answer.name, aliases: answer.aliases, ttl: answer.ttl, isSecure ? .secure : .insecure)
    case (.failure(let six), .failure(let four)):
      throw !six.isPermanent || four.isPermanent && six.absence?.security == .insecure ? six : four
    }
  }

  private func result(
    _ body: () async throws(Failure) -> Answer<IPAddress>
  ) async -> Result<Answer<IPAddress>, Failure> {
    do throws(Failure) { return .success(try await body()) } catch { return .failure(error) }
  }
}

extension Resolver.Failure {
  /// What is said to be missing, if that is the failure.
  var absence: Absence? {
    switch self {
    case .noSuchName(let absence), .noData(let absence): absence
    default: nil
    }
  }
}

extension Resolver.Answer {
  func map<New>(_ change: (Record) -> New?) -> Resolver.Answer<New> {
    Resolver.Answer<New>(records.compactMap(change), name: name, aliases: aliases, ttl: ttl, security)
  }

  func sorted(_ isBefore: (Record, Record) -> Bool) -> Self {
    Self(records.sorted(by: isBefore), name: name, aliases: aliases, ttl: ttl, security)
  }
}

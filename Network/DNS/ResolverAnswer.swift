extension Resolver {
  /// What is known of a name: at least one record of the type that was asked for.
  public struct Answer<Record: Sendable>: Sendable {
    /// In the order of the answer; mail exchangers by preference.
    public let records: [Record]
    /// Whose they are: the name that was asked for, or what it is an alias of.
    public let name: DNSName
    /// The names on the way there that are aliases (CNAME), the one that was asked for first.
    public let aliases: [DNSName]
    /// For how long all of it may be kept.
    public let ttl: Duration
    /// Whether it is signed, aliases included.
    public let security: Security

    init(_ records: [Record], name: DNSName, aliases: [DNSName] = [], ttl: Duration, _ security: Security) {
      (self.records, self.name, self.aliases) = (records, name, aliases)
      (self.ttl, self.security) = (ttl, security)
    }
  }

  /// How an answer was validated by DNSSEC. One that is found to be forged is no answer but `Failure.bogus`.
  public enum Security: Sendable {
    /// Signed, up to a trust anchor.
    case secure
    /// Nothing says that it should be signed, or there is no trust anchor.
    case insecure
  }

  /// Why there is no record.
  public enum Failure: Error, Hashable, Sendable {
    /// The name does not exist (NXDOMAIN).
    case noSuchName(Absence)
    /// The name exists, without records of this type.
    case noData(Absence)
    /// The servers' signatures are wrong: somebody forges answers, or the domain's owner has made a mistake.
    case bogus(String)
    /// The servers cannot or will not say (2: SERVFAIL, 5: REFUSED, …), or none could be reached.
    case server(code: Int)
    /// There was no answer in time.
    case timedOut
    /// The answer is no DNS message, says nothing of the question, or a chain of aliases that leads nowhere.
    case malformed
    /// The answer is larger than the options allow.
    case tooLarge
    /// More questions wait than the options allow.
    case overloaded
    /// The options, or a file they name, cannot be used; or memory is short.
    case unusable(String)
    /// The task was cancelled, or the resolver closed.
    case cancelled

    /// That there is nothing.
    public struct Absence: Hashable, Sendable {
      /// The name that was asked for, or what it is an alias of.
      public let name: DNSName
      /// Whether it is proved. Only then it says that a server has no TLSA records (RFC 7672 section 2.1).
      public let security: Security
      /// For how long it may be kept.
      public let ttl: Duration
    }

    /// Whether the same question will get the same answer. Otherwise it is worth asking again later: what is bogus,
    /// too, is for its owner to mend (RFC 7672 section 2.1.1).
    public var isPermanent: Bool {
      switch self {
      case .noSuchName, .noData: true
      case .bogus, .server, .timedOut, .malformed, .tooLarge, .overloaded, .unusable, .cancelled: false
      }
    }
  }
}

extension Resolver.Failure: CustomStringConvertible {
  /// One line for an operator.
  public var description: String {
    switch self {
    case .noSuchName(let absence): "\(absence.name) does not exist"
    case .noData(let absence): "\(absence.name) has no such record"
    case .bogus(let reason): reason.isEmpty ? "the answer is not signed as it should be" : reason
    case .server(let code):
      switch code {
      case 2: "the name servers cannot say (SERVFAIL), or none can be reached"
      case 5: "the name servers refuse to say (REFUSED)"
      default: "the name servers answer with code \(code)"
      }
    case .timedOut: "no name server answered in time"
    case .malformed: "the answer of the name server makes no sense"
    case .tooLarge: "the answer of the name server is larger than is allowed"
    case .overloaded: "too many questions wait for name servers"
    case .unusable(let reason): reason
    case .cancelled: "cancelled"
    }
  }
}

extension Resolver.Answer where Record == DNSRecord.MX {
  /// Whether the domain says that it takes no mail (RFC 7505).
  public var isNull: Bool { records.count == 1 && records[0].exchange.isRoot }
}

extension DNSMessage {
  /// Longest chain of aliases.
  static let aliasLimit = 16

  /// What the message says about a question, following aliases.
  func answer(_ name: DNSName, _ kind: DNSRecord.Kind, _ security: Resolver.Security) -> Result<
    Resolver.Answer<DNSRecord.Data>, Resolver.Failure
  > {
    guard !isTruncated, self.name == name, type == kind.rawValue else { return .failure(.malformed) }
    guard responseCode == 0 || responseCode == 3 else { return .failure(.server(code: responseCode)) }
    var (name, aliases, ttl) = (name, [DNSName](), Int.max)
    while true {
      let records = answers.filter { $0.name == name && $0.data.kind == kind }
      if !records.isEmpty {
        for record in records { ttl = min(ttl, record.ttl) }
        return .success(
          Resolver.Answer(records.map(\.data), name: name, aliases: aliases, ttl: .seconds(ttl), security))
      }
      guard let (target, seconds) = alias(of: name) else { break }
      guard aliases.count < Self.aliasLimit else { return .failure(.malformed) }
      aliases.append(name)
      (name, ttl) = (target, min(ttl, seconds))
    }
    let negative = authorities.lazy.compactMap { if case .soa(let ttl) = $0.data { ttl } else { nil } }.first ?? 0
    let absence = Resolver.Failure.Absence(name: name, security: security, ttl: .seconds(min(ttl, negative)))
    return .failure(responseCode == 3 ? .noSuchName(absence) : .noData(absence))
  }

  private func alias(of name: DNSName) -> (DNSName, Int)? {
    for record in answers where record.name == name {
      if case .cname(let target) = record.data { return (target, record.ttl) }
    }
    return nil
  }
}

extension DNSRecord.Data {
  var kind: DNSRecord.Kind? {
    switch self {
    case .a: .a
    case .aaaa: .aaaa
    case .cname: .cname
    case .ptr: .ptr
    case .mx: .mx
    case .txt: .txt
    case .tlsa: .tlsa
    case .soa, .other: nil
    }
  }
}

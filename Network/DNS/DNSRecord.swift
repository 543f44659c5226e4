/// A resource record of a DNS message.
public struct DNSRecord: Hashable, Sendable {
  /// Whose it is.
  public let name: DNSName
  /// Seconds for which it may be kept.
  public let ttl: Int
  /// What it says.
  public let data: Data

  /// The types of records that can be asked for.
  public enum Kind: UInt16, Sendable {
    /// An IPv4 address.
    case a = 1
    /// Another name for the name.
    case cname = 5
    /// The name of an address.
    case ptr = 12
    /// Who takes mail for a domain.
    case mx = 15
    /// Text.
    case txt = 16
    /// An IPv6 address.
    case aaaa = 28
    /// The certificate or key of a server.
    case tlsa = 52
  }

  /// The part that depends on the type.
  public enum Data: Hashable, Sendable {
    /// An IPv4 address.
    case a(IPAddress)
    /// An IPv6 address; one that holds an IPv4 address counts as that.
    case aaaa(IPAddress)
    /// Another name for the name.
    case cname(DNSName)
    /// The name of an address.
    case ptr(DNSName)
    /// Who takes mail for a domain.
    case mx(MX)
    /// Text.
    case txt(TXT)
    /// The certificate or key of a server.
    case tlsa(TLSA)
    /// For how many seconds it may be kept that something does not exist, as the SOA record of the zone says
    /// (RFC 2308 section 3).
    case soa(negativeTTL: Int)
    /// Of another type; its bytes are not kept.
    case other(type: UInt16)
  }

  /// Who takes mail for a domain (RFC 5321 section 5.1).
  public struct MX: Hashable, Sendable {
    /// The lowest is to be tried first.
    public let preference: UInt16
    /// The machine; the root if the domain takes no mail (RFC 7505).
    public let exchange: DNSName
  }

  /// Text, in strings of up to 255 bytes.
  public struct TXT: Hashable, Sendable {
    /// The strings as they are divided, at least one.
    public let strings: [[UInt8]]
    /// One behind the other with nothing between, as SPF, DKIM and their like read them.
    public var bytes: [UInt8] { Array(strings.joined()) }
    /// The same as text; bytes that are no UTF-8 are replaced.
    public var text: String { String(decoding: bytes, as: UTF8.self) }
  }

  /// The certificate or key of a server (RFC 6698 section 2.1). All numbers are possible.
  public struct TLSA: Hashable, Sendable {
    /// 2: the certificate of an authority, 3: of the server itself; 0 and 1 are not for mail (RFC 7672).
    public let usage: UInt8
    /// 0: of the whole certificate, 1: of its public key.
    public let selector: UInt8
    /// 0: as it is, 1: its SHA-256, 2: its SHA-512.
    public let matching: UInt8
    /// The bytes to compare with; perhaps too few of them.
    public let association: [UInt8]
  }
}

public import Pipeline

/// The addresses of a field such as `From`, `To` or `Reply-To` (RFC 5322 section 3.4, the obsolete forms of section
/// 4.4, and UTF-8 as in RFC 6532), read as far as they can be read. Linear in the bytes that are looked at.
public struct AddressList: Sendable, Hashable {
  /// One address as a field shows it.
  public struct Mailbox: Sendable, Hashable {
    /// What it is called, for a person: the display name, else the comment behind the address; empty: nothing is given.
    public var name: String
    /// What stands before the `@`, without quotes; what is no address stands here as it is.
    public var localPart: String
    /// What stands behind it; empty: there is no `@`.
    public var domain: String
    /// The place in `groups` of the group that it is a member of; nil: it is in none.
    public var group: Int?

    /// The address as an envelope could carry it; nil: it is none of RFC 5321.
    public var address: EmailAddress? { EmailAddress(localPart: localPart, domain: domain) }
  }

  /// What the grammar does not have, or went beyond the limits.
  public struct Defects: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: Int
    /// From bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// Neither the current grammar nor the obsolete one.
    public static let malformed = Defects(rawValue: 1)
    /// What only section 4.4 allows: routes, empty members, space around dots.
    public static let obsolete = Defects(rawValue: 1 << 1)
    /// No address at all.
    public static let empty = Defects(rawValue: 1 << 2)
    /// More addresses or bytes than are looked at.
    public static let beyondLimits = Defects(rawValue: 1 << 3)
  }

  /// The addresses in order, those of groups among them.
  public internal(set) var mailboxes: [Mailbox] = []
  /// The names of the groups in order, empty ones such as `undisclosed-recipients` included.
  public internal(set) var groups: [String] = []
  /// What was found that should not be there.
  public internal(set) var defects: Defects = []

  /// How many bytes of a field are looked at.
  public static let maximumLength = 256 * 1024
  /// How many addresses are read.
  public static let maximumCount = 5000

  /// Reads the value of a field.
  public init(_ field: HeaderField) { self.init(field.rawValue) }

  /// Reads a list, folded or not.
  public init(_ value: Bytes) {
    value.withUnsafeBytes { bytes in
      var reader = AddressListReader(UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.maximumLength)))
      reader.read()
      self = reader.list
    }
    if value.count > Self.maximumLength { defects.insert(.beyondLimits) }
    if mailboxes.isEmpty, groups.isEmpty { defects.insert(.empty) }
  }

  init() {}
}

extension AddressList.Mailbox: CustomStringConvertible {
  /// `Name <local@domain>`, for a person.
  public var description: String {
    let address = domain.isEmpty ? localPart : localPart + "@" + domain
    return name.isEmpty ? address : address.isEmpty ? name : "\(name) <\(address)>"
  }
}

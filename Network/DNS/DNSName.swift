/// A domain name (RFC 1035 section 3.1): up to 127 labels of 1 to 63 bytes, 255 bytes in all. Case does not count.
public struct DNSName: Hashable, Sendable, CustomStringConvertible {
  /// As DNS messages hold it, without compression: each label behind its length, a 0 at the end; ASCII in lower case.
  let wire: [UInt8]

  /// Bytes of the longest name in `wire`.
  static let limit = 255
  static let labelLimit = 63

  /// The root of all names, which a null MX (RFC 7505) names.
  public static let root = DNSName(lowercased: [0])

  /// Parses "mx.example.net", with or without a dot at the end; "." is the root.
  ///
  /// Nil for what is too long, has an empty label, or holds anything but visible ASCII: names in other alphabets come
  /// as their A-labels. A backslash is refused too: no name of the internet needs one.
  public init?(_ text: String) {
    if text == "." {
      self = .root
      return
    }
    var text = text.utf8[...]
    guard text.count <= Self.limit else { return nil }
    if text.last == 46 { text.removeLast() }
    var labels: [[UInt8]] = []
    for label in text.split(separator: 46, omittingEmptySubsequences: false) {
      guard label.allSatisfy({ (33...126).contains($0) && $0 != 92 }) else { return nil }
      labels.append(Array(label))
    }
    self.init(labels: labels)
  }

  /// From labels of any bytes, the top-level domain last; nil if they are too long, or one is empty.
  public init?(labels: some Sequence<[UInt8]>) {
    var wire: [UInt8] = []
    for label in labels {
      guard !label.isEmpty, label.count <= Self.labelLimit, wire.count + 2 + label.count <= Self.limit else {
        return nil
      }
      wire.append(UInt8(label.count))
      wire += label.lazy.map(Self.lowercased)
    }
    self.init(lowercased: wire + [0])
  }

  /// The name under which an address's own names are found (RFC 1035 section 3.5, RFC 3596 section 2.5).
  public init(reverseOf address: IPAddress) {
    var wire: [UInt8] = []
    for byte in address.bytes.reversed() {
      let labels = address.isIPv6 ? [String(byte & 15, radix: 16), String(byte >> 4, radix: 16)] : [String(byte)]
      for label in labels { wire += [UInt8(label.utf8.count)] + label.utf8 }
    }
    for label in address.isIPv6 ? ["ip6", "arpa"] : ["in-addr", "arpa"] {
      wire += [UInt8(label.utf8.count)] + label.utf8
    }
    self.init(lowercased: wire + [0])
  }

  /// `wire` must be good and in lower case.
  init(lowercased wire: [UInt8]) { self.wire = wire }

  /// Whether it is the root.
  public var isRoot: Bool { wire.count == 1 }

  /// The labels, the top-level domain last.
  public var labels: [[UInt8]] {
    var labels: [[UInt8]] = []
    var start = 0
    while wire[start] != 0 {
      let end = start + 1 + Int(wire[start])
      labels.append(Array(wire[start + 1..<end]))
      start = end
    }
    return labels
  }

  /// The name without its first label; nil for the root.
  public var parent: DNSName? { isRoot ? nil : DNSName(lowercased: Array(wire[(1 + Int(wire[0]))...])) }

  /// The name with labels in front of it, as `_25`, `_tcp`; nil if it becomes too long.
  public func below(_ labels: String...) -> DNSName? { DNSName(labels: labels.map { Array($0.utf8) } + self.labels) }

  /// Without a dot at the end, but "." for the root. What is not visible ASCII is written `\DDD`, as in zone files.
  public var description: String {
    if isRoot { return "." }
    return labels.map { label in
      var text = ""
      for byte in label {
        switch byte {
        case 46, 92: text += "\\" + String(UnicodeScalar(byte))
        case 33...126: text += String(UnicodeScalar(byte))
        default:
          let digits = String(byte)
          text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
        }
      }
      return text
    }.joined(separator: ".")
  }

  static func lowercased(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte + 32 : byte }
}

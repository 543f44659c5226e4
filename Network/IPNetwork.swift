/// A range of IP addresses: one, or all that begin with the same bits.
public struct IPNetwork: Hashable, Sendable, CustomStringConvertible {
  /// Its first address: the bits behind the prefix are 0.
  public let address: IPAddress
  /// Bits that its addresses have in common, up to 32 or 128.
  public let prefix: Int

  /// Parses "192.0.2.1", "10.0.0.0/8", "2001:db8::/32"; nil for anything else, and for bits behind the prefix that are
  /// not 0: whoever wrote "10.1.0.0/8" meant something else.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let address = IPAddress(String(parts[0])) else { return nil }
    let bits = address.bytes.count * 8
    var prefix = bits
    if parts.count == 2 {
      guard parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(parts[1]), number <= bits else {
        return nil
      }
      prefix = number
    }
    for (index, byte) in address.bytes.enumerated() where byte & ~Self.mask(index, prefix) != 0 { return nil }
    self.address = address
    self.prefix = prefix
  }

  /// Whether `other` is one of its addresses.
  public func contains(_ other: IPAddress) -> Bool {
    guard other.bytes.count == address.bytes.count else { return false }
    for (index, (left, right)) in zip(address.bytes, other.bytes).enumerated() {
      if (left ^ right) & Self.mask(index, prefix) != 0 { return false }
    }
    return true
  }

  /// As it is parsed.
  public var description: String { prefix == address.bytes.count * 8 ? "\(address)" : "\(address)/\(prefix)" }

  /// The bits of byte `index` that belong to the prefix.
  private static func mask(_ index: Int, _ prefix: Int) -> UInt8 {
    let bits = max(0, min(8, prefix - index * 8))
    return bits == 0 ? 0 : 0xff << UInt8(8 - bits)
  }
}

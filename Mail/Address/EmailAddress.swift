import Glibc

/// A mail address as an envelope carries it: `Mailbox` of RFC 5321 section 4.1.2.
///
/// For example `alice@example.com`, `"a b"@example.com`, `alice@[192.0.2.1]`, `alice@[IPv6:2001:db8::1]`.
public struct EmailAddress: Sendable, Hashable {
  /// What stands before the `@`, without the quotes and backslashes of a quoted string, in the case as written.
  public let localPart: String
  /// What stands behind it, in lower case; an address literal with its brackets.
  public let domain: String

  /// The longest local part in bytes, as written (RFC 5321 section 4.5.3.1.1).
  public static let maximumLocalPart = 64
  /// The longest domain in bytes (section 4.5.3.1.2).
  public static let maximumDomain = 255
  /// The longest address in bytes: a path of 256 less its angle brackets (section 4.5.3.1.3).
  public static let maximumLength = 254

  /// Reads an address without angle brackets or a display name; nil for anything else.
  ///
  /// - Parameter allowingUTF8: whether characters beyond ASCII may stand in it (SMTPUTF8, RFC 6531 section 3.3).
  public init?(_ text: some StringProtocol, allowingUTF8: Bool = false) {
    let bytes = Array(text.utf8)
    guard bytes.count <= Self.maximumLength, let at = bytes.lastIndex(of: UInt8(ascii: "@")), at > 0,
      at <= Self.maximumLocalPart, bytes.count - at - 1 <= Self.maximumDomain,
      let local = Self.localPart(bytes[..<at], allowingUTF8),
      let domain = Self.domain(bytes[(at + 1)...], allowingUTF8)
    else { return nil }
    self.localPart = local
    self.domain = domain
  }

  /// An address of two parts that were read elsewhere, UTF-8 allowed; nil: it is none.
  init?(localPart: String, domain: String) {
    guard !localPart.isEmpty, localPart.utf8.count <= Self.maximumLocalPart else { return nil }
    self.init(Self.written(localPart) + "@" + domain, allowingUTF8: true)
  }

  /// The form under which addresses of our own are compared: everything in lower case.
  ///
  /// RFC 5321 section 2.4 leaves the case of local parts to the host that owns the domain; for ours it has no meaning.
  public var normalized: String { Self.written(localPart.lowercased()) + "@" + domain }

  /// Whether it is the postmaster of its domain, whom every domain must have (RFC 5321 section 4.5.1).
  public var isPostmaster: Bool { localPart.lowercased() == "postmaster" }

  // MARK: Syntax

  /// `Dot-string / Quoted-string`.
  private static func localPart(_ bytes: ArraySlice<UInt8>, _ allowingUTF8: Bool) -> String? {
    guard bytes.first == UInt8(ascii: "\"") else {
      return isDotString(bytes, allowingUTF8) ? String(decoding: bytes, as: UTF8.self) : nil
    }
    guard bytes.count >= 3, bytes.last == UInt8(ascii: "\"") else { return nil }
    var value: [UInt8] = []
    var isEscaped = false
    for byte in bytes.dropFirst().dropLast() {
      let isText = (32...126).contains(byte) || byte >= 128 && allowingUTF8
      guard isText, isEscaped || byte != UInt8(ascii: "\"") else { return nil }
      if !isEscaped, byte == UInt8(ascii: "\\") {
        isEscaped = true
        continue
      }
      guard !isEscaped || byte < 128 else { return nil }
      isEscaped = false
      value.append(byte)
    }
    return isEscaped ? nil : String(decoding: value, as: UTF8.self)
  }

  private static func isDotString(_ bytes: some Collection<UInt8>, _ allowingUTF8: Bool) -> Bool {
    var atomLength = 0
    for byte in bytes {
      if byte == UInt8(ascii: ".") {
        guard atomLength > 0 else { return false }
        atomLength = 0
      } else {
        guard isAtomText(byte) || byte >= 128 && allowingUTF8 else { return false }
        atomLength += 1
      }
    }
    return atomLength > 0
  }

  /// `atext` of RFC 5322 section 3.2.3.
  static func isAtomText(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122: true
    default: "!#$%&'*+-/=?^_`{|}~".utf8.contains(byte)
    }
  }

  private static func domain(_ bytes: ArraySlice<UInt8>, _ allowingUTF8: Bool) -> String? {
    guard let first = bytes.first else { return nil }
    let text = String(decoding: bytes, as: UTF8.self).lowercased()
    if first == UInt8(ascii: "[") { return isLiteral(bytes) ? text : nil }
    var label = 0
    var previous = UInt8(ascii: ".")
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "."):
        guard label > 0, previous != UInt8(ascii: "-") else { return nil }
        label = 0
      case UInt8(ascii: "-"):
        guard label > 0 else { return nil }
        label += 1
      case 48...57, 65...90, 97...122: label += 1
      case 128...: if allowingUTF8 { label += 1 } else { return nil }
      default: return nil
      }
      guard label <= 63 else { return nil }
      previous = byte
    }
    return label > 0 && previous != UInt8(ascii: "-") ? text : nil
  }

  /// `address-literal` of RFC 5321 section 4.1.3; no tag but `IPv6` has been registered.
  private static func isLiteral(_ bytes: ArraySlice<UInt8>) -> Bool {
    guard bytes.count > 2, bytes.last == UInt8(ascii: "]") else { return false }
    let inner = String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
    guard inner.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else { return false }
    var buffer = in6_addr()
    if inner.lowercased().hasPrefix("ipv6:") { return inet_pton(AF_INET6, String(inner.dropFirst(5)), &buffer) == 1 }
    return inet_pton(AF_INET, inner, &buffer) == 1
  }

  private static func written(_ localPart: String) -> String {
    if isDotString(localPart.utf8, true) { return localPart }
    var quoted: [UInt8] = [UInt8(ascii: "\"")]
    for byte in localPart.utf8 {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { quoted.append(UInt8(ascii: "\\")) }
      quoted.append(byte)
    }
    return String(decoding: quoted + [UInt8(ascii: "\"")], as: UTF8.self)
  }
}

extension EmailAddress: CustomStringConvertible {
  /// As it is written in an envelope; the local part is quoted only if it must be.
  public var description: String { Self.written(localPart) + "@" + domain }
}

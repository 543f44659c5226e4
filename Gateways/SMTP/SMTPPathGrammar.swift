import Mail
import Network

/// Paths, domains and address literals (RFC 5321 sections 4.1.2 and 4.1.3).
enum SMTPPathGrammar {
  enum Path: Equatable {
    /// `<>`.
    case empty
    case address(EmailAddress)
    /// `<postmaster>`, in whatever case.
    case postmaster
  }

  /// Octets of a label (RFC 1035 section 2.3.4).
  private static let maximumLabel = 63

  /// A path in angle brackets; a source route in front of the mailbox is checked and dropped (appendix C).
  static func path(_ scanner: inout SMTPScanner) -> Path? {
    guard scanner.take(UInt8(ascii: "<")) else { return nil }
    if scanner.take(UInt8(ascii: ">")) { return .empty }
    if scanner.next == UInt8(ascii: "@") {
      repeat {
        guard scanner.take(UInt8(ascii: "@")), domain(&scanner) != nil else { return nil }
      } while scanner.take(UInt8(ascii: ","))
      guard scanner.take(UInt8(ascii: ":")) else { return nil }
    }
    // To mend what is not UTF-8 would make one address of several.
    guard let text = String(validating: mailbox(&scanner), as: UTF8.self), scanner.take(UInt8(ascii: ">")) else {
      return nil
    }
    // Only postmaster may be named without a domain (RFC 5321 section 4.5.1).
    if text.lowercased() == "postmaster" { return .postmaster }
    return EmailAddress(text, allowingUTF8: true).map { .address($0) }
  }

  /// What stands before the closing bracket; a bracket in quotes is none.
  private static func mailbox(_ scanner: inout SMTPScanner) -> [UInt8] {
    var text: [UInt8] = []
    var isQuoted = false
    while let byte = scanner.next, isQuoted || byte != UInt8(ascii: ">"), scanner.take(byte) {
      text.append(byte)
      if byte == UInt8(ascii: "\""), isQuoted || text.count == 1 {
        isQuoted.toggle()
      } else if byte == UInt8(ascii: "\\"), isQuoted, let escaped = scanner.next, scanner.take(escaped) {
        text.append(escaped)
      }
    }
    return text
  }

  /// Labels of letters, digits and inner hyphens with dots between them; `lenient` takes underscores too, and drops the
  /// root's dot at the end.
  static func domain(_ scanner: inout SMTPScanner, lenient: Bool = false) -> String? {
    let hyphen = UInt8(ascii: "-")
    var text = scanner.take {
      isLetterOrDigit($0) || $0 == hyphen || $0 == UInt8(ascii: ".") || lenient && $0 == UInt8(ascii: "_")
    }
    if lenient, text.last == UInt8(ascii: ".") { text.removeLast() }
    guard !text.isEmpty, text.count <= EmailAddress.maximumDomain else { return nil }
    let labels = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let fit = labels.allSatisfy { label in
      !label.isEmpty && label.count <= maximumLabel && label.first != hyphen && label.last != hyphen
    }
    return fit ? String(decoding: text, as: UTF8.self) : nil
  }

  /// Whether all of `text` is a domain.
  static func isDomain(_ text: String) -> Bool {
    var scanner = SMTPScanner(Array(text.utf8))
    return domain(&scanner) != nil && scanner.isAtEnd
  }

  /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`; other tags are not in use (the registry has none) and refused.
  static func addressLiteral(_ scanner: inout SMTPScanner) -> String? {
    guard scanner.take(UInt8(ascii: "[")) else { return nil }
    let isVersion6 = scanner.take(word: "IPV6:")
    let text = scanner.take {
      isLetterOrDigit($0) || $0 == UInt8(ascii: ".") || isVersion6 && $0 == UInt8(ascii: ":")
    }
    guard (1...45).contains(text.count), scanner.take(UInt8(ascii: "]")) else { return nil }
    let address = String(decoding: text, as: UTF8.self)
    guard IPAddress(address) != nil, address.contains(":") == isVersion6 else { return nil }
    return isVersion6 ? "[IPv6:\(address)]" : "[\(address)]"
  }

  static func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }
  static func isLetterOrDigit(_ byte: UInt8) -> Bool { isLetter(byte) || (48...57).contains(byte) }
}

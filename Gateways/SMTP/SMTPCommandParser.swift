/// Reads one command line (RFC 5321 section 4.1.1), without its line end.
///
/// Stricter than many servers in what a path may hold, more lenient in two points that old clients rely on: spaces
/// between `FROM:` and the path, and spaces at the end of a line.
public enum SMTPCommandParser {
  /// Octets of a command line with its line end (RFC 5321 section 4.5.3.1.4).
  public static let maximumLineLength = 512
  /// Octets of MAIL and RCPT lines, to which extensions add parameters.
  public static let maximumExtendedLineLength = 2048

  /// The command of a line of bytes that has no CR, LF or NUL.
  public static func parse(_ line: some RandomAccessCollection<UInt8>) throws(SMTPSyntaxError) -> SMTPCommand {
    var scanner = SMTPScanner(Array(line))
    scanner.dropTrailingSpaces()
    let verb = scanner.takeLetters()
    guard !verb.isEmpty, scanner.isAtEnd || scanner.next == UInt8(ascii: " ") else { throw .unknownCommand }
    let extended = verb == "MAIL" || verb == "RCPT"
    guard line.count + 2 <= (extended ? maximumExtendedLineLength : maximumLineLength) else { throw .lineTooLong }
    scanner.skipSpaces()
    switch verb {
    case "EHLO": return .ehlo(try clientName(&scanner, "EHLO domain"))
    case "HELO": return .helo(try clientName(&scanner, "HELO domain"))
    case "MAIL": return .mail(try mail(&scanner))
    case "RCPT": return .rcpt(try recipient(&scanner))
    case "DATA": return try alone(&scanner, .data, "DATA")
    case "BDAT": return try chunk(&scanner)
    case "STARTTLS": return try alone(&scanner, .startTLS, "STARTTLS")
    case "RSET": return try alone(&scanner, .rset, "RSET")
    case "QUIT": return try alone(&scanner, .quit, "QUIT")
    case "NOOP": return .noop
    case "HELP": return .help
    case "EXPN": return .expn
    case "VRFY":
      guard !scanner.isAtEnd else { throw .arguments("VRFY address") }
      return .vrfy
    default: throw .unknownCommand
    }
  }

  private static func alone(
    _ scanner: inout SMTPScanner, _ command: SMTPCommand, _ usage: String
  ) throws(SMTPSyntaxError) -> SMTPCommand {
    guard scanner.isAtEnd else { throw .arguments(usage) }
    return command
  }

  private static func chunk(_ scanner: inout SMTPScanner) throws(SMTPSyntaxError) -> SMTPCommand {
    let digits = scanner.take { (48...57).contains($0) }
    guard let octets = number(String(decoding: digits, as: UTF8.self)) else { throw .chunk }
    if scanner.isAtEnd { return .bdat(octets: octets, isLast: false) }
    guard scanner.skipSpaces() > 0, scanner.take(word: "LAST"), scanner.isAtEnd else { throw .chunk }
    return .bdat(octets: octets, isLast: true)
  }

  /// A domain or an address literal; underscores and a dot at the end are taken, since many machines are named so. The
  /// name goes into a trace header, so nothing that would mean something there gets through.
  private static func clientName(
    _ scanner: inout SMTPScanner, _ usage: String
  ) throws(SMTPSyntaxError) -> String {
    guard scanner.isASCII else { throw .notASCII }
    let name =
      scanner.next == UInt8(ascii: "[")
      ? SMTPPathGrammar.addressLiteral(&scanner) : SMTPPathGrammar.domain(&scanner, lenient: true)
    guard let name, scanner.isAtEnd else { throw .arguments(usage) }
    return name
  }

  private static func mail(_ scanner: inout SMTPScanner) throws(SMTPSyntaxError) -> SMTPCommand.Mail {
    guard scanner.take(word: "FROM:") else { throw .arguments("MAIL FROM:<address>") }
    scanner.skipSpaces()
    let isASCII = scanner.isASCII
    guard let path = SMTPPathGrammar.path(&scanner) else { throw .reversePath }
    var mail: SMTPCommand.Mail
    switch path {
    case .empty: mail = SMTPCommand.Mail(reversePath: nil)
    case .address(let address): mail = SMTPCommand.Mail(reversePath: address)
    case .postmaster: throw .reversePath
    }
    var seen: [String] = []
    while let parameter = try parameter(&scanner, "MAIL FROM:<address> KEYWORD=value") {
      guard !seen.contains(parameter.name) else { throw .arguments("each parameter once, not again \(parameter.name)") }
      seen.append(parameter.name)
      switch parameter.name {
      case "SIZE":
        guard let size = number(parameter.value) else { throw .arguments("SIZE=octets") }
        mail.size = size
      case "BODY":
        guard let body = SMTPBodyType(rawValue: parameter.value.uppercased()) else {
          throw .arguments("BODY=7BIT or BODY=8BITMIME")
        }
        mail.body = body
      case "SMTPUTF8":
        guard parameter.value.isEmpty else { throw .arguments("SMTPUTF8 without a value") }
        mail.isInternational = true
      default: throw .unknownParameter(parameter.name)
      }
    }
    guard isASCII || mail.isInternational else { throw .notASCII }
    return mail
  }

  private static func recipient(_ scanner: inout SMTPScanner) throws(SMTPSyntaxError) -> SMTPCommand.Recipient {
    guard scanner.take(word: "TO:") else { throw .arguments("RCPT TO:<address>") }
    scanner.skipSpaces()
    let recipient: SMTPCommand.Recipient
    switch SMTPPathGrammar.path(&scanner) {
    case .address(let address): recipient = .address(address)
    case .postmaster: recipient = .postmaster
    case .empty, nil: throw .forwardPath
    }
    if let parameter = try parameter(&scanner, "RCPT TO:<address>") { throw .unknownParameter(parameter.name) }
    return recipient
  }

  /// `keyword[=value]` behind at least one space (RFC 5321 section 4.1.2, esmtp-param); nil at the end of the line.
  private static func parameter(
    _ scanner: inout SMTPScanner, _ usage: String
  ) throws(SMTPSyntaxError) -> (name: String, value: String)? {
    guard !scanner.isAtEnd else { return nil }
    guard scanner.skipSpaces() > 0 else { throw .arguments(usage) }
    let name = scanner.take { SMTPPathGrammar.isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
    guard let first = name.first, first != UInt8(ascii: "-") else { throw .arguments(usage) }
    var value = ""
    if scanner.take(UInt8(ascii: "=")) {
      value = String(decoding: scanner.take { (33...126).contains($0) && $0 != UInt8(ascii: "=") }, as: UTF8.self)
      guard !value.isEmpty else { throw .arguments(usage) }
    }
    guard scanner.isAtEnd || scanner.next == UInt8(ascii: " ") else { throw .arguments(usage) }
    return (String(decoding: name, as: UTF8.self).uppercased(), value)
  }

  /// 1 to 20 digits (RFC 1870 section 3); what does not fit 64 bits is the largest number.
  private static func number(_ text: String) -> Int? {
    guard (1...20).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text) ?? .max
  }
}

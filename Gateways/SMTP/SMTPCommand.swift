public import Mail

/// One command of a client (RFC 5321 section 4.1), its arguments checked.
public enum SMTPCommand: Sendable, Hashable {
  /// Greets and asks for extensions. The client's own name: a domain or an address literal, not to be trusted.
  case ehlo(String)
  /// Greets without extensions.
  case helo(String)
  /// Begins a transaction.
  case mail(Mail)
  /// Adds a recipient.
  case rcpt(Recipient)
  /// Announces the message.
  case data
  /// Announces so many octets of the message (RFC 3030).
  case bdat(octets: Int, isLast: Bool)
  /// Asks to go over to TLS (RFC 3207).
  case startTLS
  /// Gives up the transaction.
  case rset
  /// Nothing.
  case noop
  /// Asks whether a mailbox exists.
  case vrfy
  /// Asks for the members of a list.
  case expn
  /// Asks for help.
  case help
  /// Ends the connection.
  case quit

  /// Whom RCPT names.
  public enum Recipient: Sendable, Hashable {
    /// A mailbox of a domain.
    case address(EmailAddress)
    /// `<postmaster>` without a domain: the server's own (RFC 5321 section 4.5.1).
    case postmaster
  }

  /// What MAIL says.
  public struct Mail: Sendable, Hashable {
    /// Where failures are reported; nil for `<>`: nowhere.
    public var reversePath: EmailAddress?
    /// Octets of the message, as the client estimates it (RFC 1870); nil if it did not say.
    public var size: Int?
    /// What the content holds (RFC 6152); 7BIT if it did not say.
    public var body: SMTPBodyType = .sevenBit
    /// Whether addresses and header may hold UTF-8 (RFC 6531).
    public var isInternational = false

    /// What MAIL says.
    public init(
      reversePath: EmailAddress?, size: Int? = nil, body: SMTPBodyType = .sevenBit, isInternational: Bool = false
    ) {
      self.reversePath = reversePath
      self.size = size
      self.body = body
      self.isInternational = isInternational
    }
  }
}

/// What a message's content holds, as its sender declared it (RFC 6152).
public enum SMTPBodyType: String, Sendable, Hashable {
  /// Octets below 128 in lines of at most 1,000.
  case sevenBit = "7BIT"
  /// Any octets in such lines.
  case eightBitMIME = "8BITMIME"
}

/// Why a command line is not a command.
public enum SMTPSyntaxError: Error, Sendable, Hashable {
  /// The first word is none that we know.
  case unknownCommand
  /// Longer than 512 octets, and neither MAIL nor RCPT.
  case lineTooLong
  /// The arguments do not fit; what would.
  case arguments(String)
  /// The reverse-path does not fit the grammar.
  case reversePath
  /// The forward-path does not fit the grammar.
  case forwardPath
  /// Octets above 127 where the client has not said SMTPUTF8.
  case notASCII
  /// BDAT without a size that can be read: where the next command begins is not known.
  case chunk
  /// A parameter of an extension that is not offered.
  case unknownParameter(String)

  /// What the client is told.
  public var reply: SMTPReply {
    switch self {
    case .unknownCommand: SMTPReply(500, "5.5.1", "Unknown command")
    case .lineTooLong: .commandTooLong
    case .arguments(let usage): SMTPReply(501, "5.5.4", "Syntax: \(usage)")
    case .reversePath: SMTPReply(501, "5.1.7", "Bad reverse-path: MAIL FROM:<user@domain> or MAIL FROM:<>")
    case .forwardPath: SMTPReply(501, "5.1.3", "Bad forward-path: RCPT TO:<user@domain>")
    case .notASCII: .needsUTF8
    case .chunk: SMTPReply(501, "5.5.4", "Syntax: BDAT octets [LAST]; closing connection")
    case .unknownParameter(let name): SMTPReply(555, "5.5.4", "Parameter \(name.prefix(40)) is not offered")
    }
  }
}

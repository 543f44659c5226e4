/// The replies of this server that do not depend on what was said.
extension SMTPReply {
  static let ok = SMTPReply(250, "2.0.0", "Ok")
  static let senderOk = SMTPReply(250, "2.1.0", "Ok")
  static let recipientOk = SMTPReply(250, "2.1.5", "Ok")
  static let startData = SMTPReply(354, nil, "End data with <CR><LF>.<CR><LF>")
  static let cannotVerify = SMTPReply(252, "2.0.0", "Cannot verify, but will take mail and try to deliver it")
  static let noExpansion = SMTPReply(502, "5.5.1", "EXPN is not offered")
  static let help = SMTPReply(
    214, "2.0.0", "Commands: EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nSee RFC 5321")
  static let startTLS = SMTPReply(220, "2.0.0", "Ready to start TLS")
  static func chunkTaken(_ octets: Int) -> SMTPReply { SMTPReply(250, "2.0.0", "\(octets) octets received") }

  static let helloFirst = SMTPReply(503, "5.5.1", "Say EHLO or HELO first")
  static let nestedMail = SMTPReply(503, "5.5.1", "A transaction is open already: end it with DATA or RSET")
  static let mailFirst = SMTPReply(503, "5.5.1", "Say MAIL first")
  static let noTLS = SMTPReply(502, "5.5.1", "STARTTLS is not offered")
  static let isTLS = SMTPReply(503, "5.5.1", "TLS is in use already")
  static let needsTLS = SMTPReply(530, "5.7.0", "Must issue a STARTTLS command first")
  static let behindStartTLS = SMTPReply(501, "5.5.1", "Nothing may follow STARTTLS before the handshake")
  static let mixedChunks = SMTPReply(503, "5.5.1", "The message comes by BDAT: end it with LAST or RSET")
  static let needsUTF8 = SMTPReply(553, "5.6.7", "An address beyond ASCII needs SMTPUTF8 at MAIL")
  static let noValidRecipients = SMTPReply(554, "5.5.1", "No valid recipients")

  static let tooManyRecipients = SMTPReply(452, "4.5.3", "Too many recipients: send the others in another transaction")
  static let unknownRecipient = SMTPReply(550, "5.1.1", "No such mailbox here")
  static let relayingDenied = SMTPReply(550, "5.7.1", "Relaying denied")
  static let mailboxFullForNow = SMTPReply(452, "4.2.2", "Mailbox is over quota, try again later")
  static let mailboxFull = SMTPReply(552, "5.2.2", "Mailbox is full")
  static let directoryAway = SMTPReply(451, "4.3.0", "Recipients cannot be looked up now, try again later")

  static let acceptorAway = SMTPReply(451, "4.3.0", "Mail cannot be queued now, try again later")
  static let storageFull = SMTPReply(452, "4.3.1", "Out of storage, try again later")
  static let bareLineEnding = SMTPReply(
    550, "5.6.11", "Message has a bare <CR> or <LF>: lines must end with <CR><LF>")

  static func messageTooLarge(_ limit: Int) -> SMTPReply {
    SMTPReply(552, "5.3.4", "Message is larger than \(limit) octets")
  }
  static func lineTooLong(_ limit: Int) -> SMTPReply {
    SMTPReply(552, "5.3.4", "Message has a line longer than \(limit) octets")
  }

  static let commandBareLineFeed = SMTPReply(500, "5.5.2", "Bare <LF> in a command: lines must end with <CR><LF>")
  static let commandBareReturn = SMTPReply(500, "5.5.2", "Bare <CR> in a command: lines must end with <CR><LF>")
  static let commandNUL = SMTPReply(500, "5.5.2", "NUL in a command")
  static let commandTooLong = SMTPReply(500, "5.5.2", "Command line too long")

  static let tooManyErrors = SMTPReply(421, "4.7.0", "Too many errors, closing connection")
  static let tooManyCommands = SMTPReply(421, "4.7.0", "Too many commands without mail, closing connection")
  static let tooManyMessages = SMTPReply(421, "4.7.0", "Too many messages on one connection, open another")
  static let messagesTooFast = SMTPReply(450, "4.7.1", "Too many messages from your address, try again later")
  static let recipientsTooFast = SMTPReply(450, "4.7.1", "Too many recipients from your address, try again later")
  static let connectionsTooFast = SMTPReply(421, "4.7.0", "Too many connections from your address, try again later")
  static let noProxyHeader = SMTPReply(421, "4.7.0", "No PROXY header, closing connection")
  static let tooManyConnections = SMTPReply(421, "4.7.0", "Too many connections, try again later")
  static let notSMTP = SMTPReply(421, "4.7.0", "This is not SMTP, closing connection")
  static let timedOut = SMTPReply(421, "4.4.2", "Time-out, closing connection")
  static let shuttingDown = SMTPReply(421, "4.3.2", "Service is shutting down, try again later")

  /// What a client is told when a stage rejects its mail: the stage's reason tells what kind of refusal it is (RFC 3463).
  static func rejected(reason: String, _ text: String) -> SMTPReply {
    let (code, status) =
      switch reason.prefix(while: { $0 != "." }) {
      case "size": (552, "5.3.4")
      case "loop": (554, "5.4.6")
      case "syntax", "header": (550, "5.6.0")
      case "recipient": reason == "recipient.unknown" ? (550, "5.1.1") : (550, "5.7.1")
      default: (550, "5.7.1")
      }
    // A line end in a stage's text is no line end of the reply.
    let line = String(text.map { $0.isNewline ? " " : $0 }.prefix(400))
    return SMTPReply(code, status, "\(line) (\(reason))")
  }
}

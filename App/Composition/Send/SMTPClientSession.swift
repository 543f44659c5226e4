import Mail

/// The client's side of one mail transaction (RFC 5321): takes replies, says what to do next. No I/O.
struct SMTPClientSession {
  /// What is to be sent.
  struct Transaction {
    /// Nil is `<>`.
    var sender: EmailAddress?
    var recipients: [EmailAddress]
    var content: OutgoingContent
  }

  /// What a server says to one command.
  struct Reply: Equatable {
    var code: Int
    /// Without the code, a line each.
    var lines: [String]
    var text: String { lines.joined(separator: " ") }
    /// Behind the enhanced status code that `text` may begin with; and that code.
    var status: String? {
      let word = text.prefix { $0 != " " }
      let parts = word.split(separator: ".", omittingEmptySubsequences: false)
      guard parts.count == 3, parts.allSatisfy({ (1...3).contains($0.count) && $0.allSatisfy(\.isNumber) }) else {
        return nil
      }
      return String(word)
    }
  }

  /// What to do next.
  enum Action: Equatable {
    /// Send this, read a reply.
    case send([UInt8])
    /// Shake hands, then call `secured`.
    case startTLS
    /// It is over: send this, and close.
    case end([UInt8])
  }

  /// Why nothing was accepted.
  enum Failure: Equatable {
    /// The server's word, at this command.
    case refused(command: String, Reply)
    /// The server does not offer what the message or the caller needs.
    case missing(String)
    /// The server takes no message of this size.
    case tooLarge(limit: Int)
  }

  private enum Step {
    case greeting, ehlo, helo, startTLS, mail, recipient(Int), data, content, ended
  }

  private let mail: Transaction
  private let name: String
  private let wantsTLS: Bool
  private var step = Step.greeting
  private var isSecured = false
  private(set) var extensions: [String: String] = [:]
  /// Recipients that the server did not take.
  private(set) var refused: [(recipient: EmailAddress, reply: Reply)] = []
  /// What it said once it had taken the message.
  private(set) var accepted: Reply?
  private(set) var failure: Failure?

  /// - Parameters:
  ///   - name: our own, for EHLO.
  ///   - wantsTLS: whether nothing may be sent in plain.
  init(_ mail: Transaction, name: String, wantsTLS: Bool) {
    self.mail = mail
    self.name = name
    self.wantsTLS = wantsTLS
  }

  /// What follows a reply.
  mutating func receive(_ reply: Reply) -> Action {
    switch step {
    case .greeting:
      guard reply.code == 220 else { return fail("the connection", reply) }
      return say("EHLO \(name)", .ehlo)
    case .ehlo:
      guard reply.code == 250 else {
        guard reply.code >= 500 else { return fail("EHLO", reply) }
        return wantsTLS ? fail(.missing("STARTTLS")) : say("HELO \(name)", .helo)
      }
      extensions = [:]
      for line in reply.lines.dropFirst() {
        let words = line.split(separator: " ", maxSplits: 1).map(String.init)
        if let first = words.first { extensions[first.uppercased()] = words.count > 1 ? words[1] : "" }
      }
      guard wantsTLS, !isSecured else { return beginMail() }
      return extensions["STARTTLS"] == nil ? fail(.missing("STARTTLS")) : say("STARTTLS", .startTLS)
    case .helo: return reply.code == 250 ? beginMail() : fail("HELO", reply)
    case .startTLS: return reply.code == 220 ? .startTLS : fail("STARTTLS", reply)
    case .mail: return reply.code == 250 ? nextRecipient(0) : fail("MAIL", reply)
    case .recipient(let index):
      if reply.code != 250, reply.code != 251 { refused.append((mail.recipients[index], reply)) }
      return nextRecipient(index + 1)
    case .data:
      guard reply.code == 354 else { return fail("DATA", reply) }
      step = .content
      return .send(mail.content.stuffed)
    case .content:
      guard reply.code == 250 else { return fail("the message", reply) }
      accepted = reply
      return end()
    case .ended: return end()
    }
  }

  /// TLS is there: all that was said before counts no more.
  mutating func secured() -> Action {
    isSecured = true
    return say("EHLO \(name)", .ehlo)
  }

  private mutating func beginMail() -> Action {
    let isInternational =
      ([mail.sender].compactMap { $0 } + mail.recipients).contains { address in
        address.description.utf8.contains { $0 > 127 }
      }
    if isInternational, extensions["SMTPUTF8"] == nil { return fail(.missing("SMTPUTF8")) }
    var line = "MAIL FROM:<\(mail.sender?.description ?? "")>"
    let size = mail.content.bytes.count
    if let limit = extensions["SIZE"] {
      if let limit = Int(limit), limit > 0, size > limit { return fail(.tooLarge(limit: limit)) }
      line += " SIZE=\(size)"
    }
    if mail.content.isEightBit, extensions["8BITMIME"] != nil { line += " BODY=8BITMIME" }
    if extensions["SMTPUTF8"] != nil, isInternational || mail.content.hasEightBitHeader { line += " SMTPUTF8" }
    return say(line, .mail)
  }

  private mutating func nextRecipient(_ index: Int) -> Action {
    guard index >= mail.recipients.count else { return say("RCPT TO:<\(mail.recipients[index])>", .recipient(index)) }
    guard refused.count < mail.recipients.count else { return end() }
    return say("DATA", .data)
  }

  private mutating func say(_ line: String, _ next: Step) -> Action {
    step = next
    return .send(Array("\(line)\r\n".utf8))
  }

  private mutating func fail(_ command: String, _ reply: Reply) -> Action { fail(.refused(command: command, reply)) }

  private mutating func fail(_ failure: Failure) -> Action {
    self.failure = failure
    return end()
  }

  private mutating func end() -> Action {
    step = .ended
    return .end(Array("QUIT\r\n".utf8))
  }
}

import Mail
import Network
import Pipeline
import SMTPGateway

/// A client's side of a session without sockets: sends bytes, answers the session's questions, keeps the replies.
struct Conversation {
  var session: SMTPSession
  var now = Timestamp(milliseconds: 1_700_000_000_000)
  var directory: (EmailAddress) -> RecipientStatus = Conversation.usualDirectory
  var acceptor: (ReceivedMail) -> AcceptResult = { _ in .accepted(id: "ID") }
  var replies = ""
  var mails: [ReceivedMail] = []
  var isClosed = false
  /// How often the output was written.
  var writes = 0

  init(
    remoteAddress: String = "192.0.2.1", allowance: (any SMTPAllowance)? = nil,
    _ change: (inout SMTPSessionConfiguration) -> Void = { _ in }
  ) {
    var configuration = SMTPSessionConfiguration(hostname: "mx.example.com")
    change(&configuration)
    session = SMTPSession(configuration, remoteAddress: remoteAddress, allowance: allowance, at: now)
    flush()
  }

  static func usualDirectory(_ address: EmailAddress) -> RecipientStatus {
    guard address.domain == "example.com" || address.localPart == "postmaster" else { return .notLocal }
    switch address.localPart {
    case "nobody": return .unknown
    case "busy": return .overQuota
    case "full": return .full
    case "away": return .unavailable
    default: return .known
    }
  }

  mutating func flush() {
    guard session.hasOutput else { return }
    replies += String(decoding: session.takeOutput(), as: UTF8.self)
    writes += 1
  }

  mutating func send(_ text: String) { send(Array(text.utf8)) }

  mutating func send(_ bytes: some Collection<UInt8>) {
    let bytes = Array(bytes)
    bytes.withUnsafeBytes { buffer in
      var at = 0
      while at < buffer.count, !isClosed {
        var (consumed, action) = session.receive(UnsafeRawBufferPointer(rebasing: buffer[at...]), at: now)
        at += consumed
        if case .resolve(let address) = action { action = session.resolved(directory(address), at: now) }
        if case .accept(let mail) = action {
          mails.append(mail)
          action = session.accepted(acceptor(mail), at: now)
        }
        if case .startTLS = action {
          flush()
          session.secured(TLSDescription(version: "TLSv1.3", cipher: "C"), at: now)
        }
        if case .close = action { isClosed = true }
      }
    }
    flush()
  }

  /// The codes of all replies, without those of the lines before a reply's last one.
  var codes: [Int] {
    replies.split(separator: "\r\n").filter { $0.count > 3 && Array($0.utf8)[3] == 32 }.compactMap { Int($0.prefix(3)) }
  }

  /// What the last reply's last line says.
  var last: String { replies.split(separator: "\r\n").last.map { String($0) } ?? "" }

  /// Brings the session to a state.
  mutating func greet() { send("EHLO client.example.org\r\n") }
  mutating func announce() {
    greet()
    send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
  }
}

/// What a conversation came to, to compare how its bytes were split.
struct Outcome: Equatable, CustomStringConvertible {
  var replies: String
  var mails: [String]
  var isClosed: Bool

  init(_ pieces: [ArraySlice<UInt8>], _ make: () -> Conversation = { Conversation() }) {
    var conversation = make()
    for piece in pieces { conversation.send(piece) }
    replies = conversation.replies
    mails = conversation.mails.map { mail in
      let sender = mail.reversePath?.description ?? "<>"
      let recipients = mail.recipients.map(\.description).joined(separator: ",")
      return "\(sender) \(recipients) \(mail.transmission) \(mail.body) \(mail.content)"
    }
    isClosed = conversation.isClosed
  }

  var description: String { "\(replies)\(mails)\(isClosed)" }
}

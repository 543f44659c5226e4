import FuzzKit
import Mail
import Network
import Pipeline
import SMTPGateway

/// Rules of the SMTP command parser and the session: how the bytes are cut makes no difference, only what CRLF.CRLF ended is
/// taken, and memory and answers stay within their limits.
public enum SMTPFuzz {
  /// The first rule that does not hold.
  public static func brokenRule(_ bytes: [UInt8]) -> String? {
    let whole = Talk([bytes[...]], offersTLS: false)
    if let broken = whole.brokenRule { return broken }
    let pieces = Talk(Pieces(bytes), offersTLS: false)
    if let broken = pieces.brokenRule { return broken }
    if pieces.replies != whole.replies || pieces.mails != whole.mails || pieces.isClosed != whole.isClosed {
      return "pieces"
    }
    // Where STARTTLS ends it matters: what stands behind it in one segment came in plain.
    let secured = Talk([bytes[...]], offersTLS: true)
    if let broken = secured.brokenRule { return broken }
    if secured.wentOnBehindTLS { return "plain bytes behind STARTTLS were taken" }
    for line in lines(bytes) {
      if let broken = brokenRule(ofLine: line) { return broken }
    }
    return nil
  }

  private static let sizeLimit = 300
  private static let recipientLimit = 3

  /// A client's side of a session: answers what the session asks, and watches what it does.
  private struct Talk {
    var replies: [UInt8] = []
    var mails: [String] = []
    var isClosed = false
    var wentOnBehindTLS = false
    var brokenRule: String?

    init(_ pieces: some Sequence<ArraySlice<UInt8>>, offersTLS: Bool) {
      var configuration = SMTPSessionConfiguration(hostname: "mx.example.com")
      configuration.maximumMessageSize = sizeLimit
      configuration.maximumRecipients = recipientLimit
      configuration.maximumMessages = 4
      configuration.offersTLS = offersTLS
      let now = Timestamp(milliseconds: 1_700_000_000_000)
      var session = SMTPSession(configuration, remoteAddress: "192.0.2.1", at: now)
      for piece in pieces {
        var rest = piece
        while !rest.isEmpty, !isClosed {
          var (consumed, action) = rest.withUnsafeBytes { session.receive($0, at: now) }
          if consumed == 0, case .read = action {
            brokenRule = "no progress"
            return
          }
          rest = rest.dropFirst(consumed)
          if session.heldBytes > sizeLimit { brokenRule = "memory" }
          if case .resolve(let address) = action {
            action = session.resolved(address.domain == "example.com" ? .known : .notLocal, at: now)
          }
          if case .accept(let mail) = action {
            note(mail)
            action = session.accepted(.accepted(id: "ID"), at: now)
          }
          if case .startTLS = action {
            wentOnBehindTLS = !rest.isEmpty
            session.secured(TLSDescription(version: "TLSv1.3", cipher: "C"), at: now)
          }
          if case .close = action { isClosed = true }
          replies += session.takeOutput()
          if session.takeDelay() > .seconds(10) { brokenRule = "delay" }
        }
      }
      replies += session.takeOutput()
      check()
    }

    private mutating func note(_ mail: ReceivedMail) {
      let content = mail.content
      if content.count > sizeLimit { brokenRule = "size" }
      for (index, byte) in content.enumerated() {
        if byte == 13, index + 1 == content.count || content[index + 1] != 10 { brokenRule = "bare CR" }
        if byte == 10, index == 0 || content[index - 1] != 13 { brokenRule = "bare LF" }
      }
      let recipients = mail.recipients.map(\.description)
      if !(1...recipientLimit).contains(recipients.count) || Set(recipients).count != recipients.count {
        brokenRule = "recipients"
      }
      let words = [mail.helo] + recipients + [mail.reversePath?.description ?? ""]
      if words.contains(where: { $0.utf8.contains { $0 < 32 || $0 == 127 } }) { brokenRule = "control characters" }
      if !mail.transmission.isInternational, words.contains(where: { $0.utf8.contains { $0 > 127 } }) {
        brokenRule = "beyond ASCII"
      }
      mails.append("\(words) \(mail.transmission) \(mail.body) \(content)")
    }

    /// Replies are lines of at most 512 octets of printable ASCII with a code.
    private mutating func check() {
      var queued = 0
      for line in SMTPFuzz.lines(replies) {
        let isReply =
          line.count >= 4 && line.prefix(3).allSatisfy { (48...57).contains($0) } && (line[3] == 32 || line[3] == 45)
        if !isReply || line.count > 510 || line.contains(where: { !(32...126).contains($0) }) { brokenRule = "reply" }
        if String(decoding: line, as: UTF8.self).contains("queued as") { queued += 1 }
      }
      if queued != mails.count { brokenRule = "250 and mail do not agree" }
    }
  }

  /// What was taken can be written down and read again.
  private static func brokenRule(ofLine line: [UInt8]) -> String? {
    guard let command = try? SMTPCommandParser.parse(line) else { return nil }
    switch command {
    case .mail(let mail):
      var plain = "MAIL FROM:<\(mail.reversePath?.description ?? "")> BODY=\(mail.body.rawValue)"
      if let size = mail.size { plain += " SIZE=\(size)" }
      if mail.isInternational { plain += " SMTPUTF8" }
      return (try? SMTPCommandParser.parse(Array(plain.utf8))) == command ? nil : "MAIL written and read again"
    case .rcpt(.address(let address)):
      return (try? SMTPCommandParser.parse(Array("RCPT TO:<\(address)>".utf8))) == command
        ? nil : "RCPT written and read again"
    default: return nil
    }
  }

  /// What CR LF ends, and what is left.
  private static func lines(_ bytes: [UInt8]) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var line: [UInt8] = []
    for byte in bytes {
      line.append(byte)
      guard byte == 10, line.count > 1, line[line.count - 2] == 13 else { continue }
      lines.append(line.dropLast(2))
      line = []
    }
    return line.isEmpty ? lines : lines + [line]
  }
}

#if FUZZING
  /// What libFuzzer calls with each input.
  @_cdecl("LLVMFuzzerTestOneInput")
  public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    tryInput(start, count, SMTPFuzz.brokenRule)
  }
#endif

import Mail
import Pipeline
import SMTPGateway
import Testing

/// Random bytes and random mixes of words, from a fixed seed: nothing traps, nothing is accepted that was not asked for.
@Suite struct FuzzTests {
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  @Test func randomBytes() {
    var random = Generator(state: 1)
    for _ in 0..<2000 {
      let bytes = (0..<Int.random(in: 0...600, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      let outcome = Outcome([bytes[...]])
      #expect(outcome.mails.isEmpty)
      #expect(!outcome.replies.contains("queued as"))
    }
  }

  static let words: [String] = [
    "EHLO c", "HELO c", "MAIL FROM:<a@b.c>", "MAIL FROM:<>", "MAIL FROM:<a@b.c> SIZE=5", "RCPT TO:<x@example.com>",
    "RCPT TO:<nobody@example.com>", "DATA", "RSET", "NOOP", "QUIT", "x", ".", "..", "\r\n", "\r\n", "\r\n", "\r\n",
    "\r\n.\r\n", "\n", "\r", "\0", " ", "<", ">", "\"", "\\", "@", "[", "]", ":", "\u{e9}", "\r\nDATA\r\n",
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\n", "STARTTLS", "MAIL FROM:<a@b.c> SMTPUTF8",
    "RCPT TO:<\u{e9}@example.com>", "BDAT 3", "BDAT 4 LAST", "BDAT 0 LAST\r\n", "BDAT 6\r\nabcd\r\n", "BDAT x\r\n",
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nBDAT 4\r\nab\r\n",
  ]

  /// Words of the protocol in any order: split anywhere, the outcome is the same; what is accepted has no bare CR or LF.
  @Test func randomWords() {
    var random = Generator(state: 2)
    var accepted = 0
    for round in 0..<3000 {
      let text = (0..<Int.random(in: 1...30, using: &random)).map { _ in Self.words.randomElement(using: &random) ?? ""
      }
      let bytes = Array(text.joined().utf8)
      let whole = Outcome([bytes[...]])
      var pieces: [ArraySlice<UInt8>] = []
      var at = 0
      while at < bytes.count {
        let end = min(bytes.count, at + Int.random(in: 1...9, using: &random))
        pieces.append(bytes[at..<end])
        at = end
      }
      #expect(Outcome(pieces) == whole, "round \(round): \(text.joined().debugDescription)")
      accepted += whole.mails.count
      let queued = whole.replies.split(separator: "queued as").count - 1
      #expect(queued == whole.mails.count)
    }
    #expect(accepted > 50, "the words must reach far into the protocol")
  }

  @Test func randomArguments() {
    var random = Generator(state: 3)
    let alphabet = Array("ab@.<>[]:\"\\, =-_%IPv6:SIZE12".utf8)
    for _ in 0..<20_000 {
      let start = ["MAIL FROM:<", "RCPT TO:<", "EHLO ", "MAIL FROM:<a@b.c> "].randomElement(using: &random) ?? ""
      let tail = (0..<Int.random(in: 0...40, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? 0 }
      guard let command = try? SMTPCommandParser.parse(Array(start.utf8) + tail) else { continue }
      // What was taken can be written down and read again.
      if case .rcpt(.address(let mailbox)) = command {
        #expect((try? SMTPCommandParser.parse(Array("RCPT TO:<\(mailbox)>".utf8))) == command)
      }
      if case .mail(let mail) = command, let sender = mail.reversePath {
        guard case .mail(let again)? = try? SMTPCommandParser.parse(Array("MAIL FROM:<\(sender)>".utf8)) else {
          Issue.record("\(sender) cannot be read again")
          continue
        }
        #expect(again.reversePath == sender)
      }
    }
  }
}

import Mail
import SMTPGateway
import Testing

/// STARTTLS (RFC 3207), CHUNKING (RFC 3030) and SMTPUTF8 (RFC 6531), without sockets.
@Suite struct ExtensionTests {
  // MARK: STARTTLS

  @Test func tlsBeginsAnew() {
    var talk = Conversation { $0.offersTLS = true }
    talk.send("EHLO c\r\n")
    #expect(talk.last == "250 STARTTLS")
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\n")
    talk.send("STARTTLS\r\n")
    #expect(talk.last == "220 2.0.0 Ready to start TLS")
    // Neither the greeting nor the transaction counts any more.
    talk.send("MAIL FROM:<a@b.c>\r\n")
    #expect(talk.codes.last == 503)
    talk.send("EHLO c\r\n")
    #expect(talk.last == "250 ENHANCEDSTATUSCODES")
    talk.send("DATA\r\n")
    #expect(talk.last == "503 5.5.1 Say MAIL first")
    talk.send("STARTTLS\r\n")
    #expect(talk.last == "503 5.5.1 TLS is in use already")
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nx\r\n.\r\n")
    #expect(talk.mails.map(\.transmission.name) == ["ESMTPS"])
    #expect(talk.mails.first?.transmission.encryption == "TLSv1.3 C")
  }

  @Test(arguments: ["NOOP\r\n", "MAIL FROM:<evil@b.c>\r\n", "x", "\r\n"])
  func nothingFollowsStartTLS(_ injected: String) {
    var talk = Conversation { $0.offersTLS = true }
    talk.send("EHLO c\r\nSTARTTLS\r\n" + injected)
    #expect(talk.isClosed)
    #expect(talk.codes == [220, 250, 501])
  }

  @Test func tlsThatIsNotOffered() {
    var talk = Conversation()
    talk.send("EHLO c\r\nSTARTTLS\r\nNOOP\r\nSTARTTLS x\r\n")
    #expect(talk.codes == [220, 250, 502, 250, 501])
    #expect(!talk.replies.contains("250 STARTTLS"))
  }

  @Test func tlsThatIsRequired() {
    var talk = Conversation {
      $0.offersTLS = true
      $0.requiresTLS = true
    }
    talk.send("EHLO c\r\nNOOP\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\n")
    #expect(talk.codes == [220, 250, 250, 530, 503, 503])
    talk.send("STARTTLS\r\n")
    talk.send("EHLO c\r\nMAIL FROM:<a@b.c>\r\n")
    #expect(talk.codes.suffix(3) == [220, 250, 250])
  }

  // MARK: CHUNKING

  static let opening = "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\n"

  @Test func chunksMakeAMessage() {
    var talk = Conversation()
    talk.send(Self.opening + "BDAT 7\r\na: b\r\n\r")
    talk.send("BDAT 11\r\n\n.\r\nQUIT\r\n.BDAT 2 LAST\r\n\r\nNOOP\r\n")
    #expect(talk.replies.contains("250 2.0.0 7 octets received"))
    #expect(talk.codes == [220, 250, 250, 250, 250, 250, 250, 250])
    #expect(talk.mails.map(\.content) == [Array("a: b\r\n\r\n.\r\nQUIT\r\n.\r\n".utf8)])
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nBDAT 0 LAST\r\n")
    #expect(talk.mails.map(\.content.count) == [20, 0])
  }

  /// Wherever the bytes are cut, whatever is wrong with them, the outcome is the same.
  @Test(arguments: [
    opening + "BDAT 5\r\na\r\nb\rBDAT 3 LAST\r\n\nc\nQUIT\r\n",
    opening + "BDAT 5\r\na\r\nb\rBDAT 3 LAST\r\nc\r\nQUIT\r\n",
    opening + "BDAT 3\r\na\r\rBDAT 1 LAST\r\n\nNOOP\r\n",
    opening + "BDAT 2 LAST\r\na\rNOOP\r\n",
    opening + "BDAT 2\r\na\rBDAT 0 LAST\r\nNOOP\r\n",
    opening + "BDAT 3\r\na\nbBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
    opening + "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n",
    opening + "BDAT 999999999999999999999999\r\nNOOP\r\n", opening + "BDAT 5 FIRST\r\nNOOP\r\n",
    opening + "BDAT\r\nNOOP\r\n",
    opening + "BDAT 90 LAST\r\n" + String(repeating: "x", count: 88) + "\r\nNOOP\r\n",
    opening + "BDAT 20\r\n" + String(repeating: "x", count: 20) + "BDAT 20\r\n" + String(repeating: "y", count: 20)
      + "BDAT 20\r\n" + String(repeating: "y", count: 20) + "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
  ]) func chunksInPieces(_ text: String) {
    let bytes = Array(text.utf8)
    let make = { Conversation { $0.maximumMessageSize = 50 } }
    let whole = Outcome([bytes[...]], make)
    #expect(Outcome(bytes.indices.map { bytes[$0..<($0 + 1)] }, make) == whole)
    for cut in bytes.indices { #expect(Outcome([bytes[..<cut], bytes[cut...]], make) == whole) }
  }

  @Test func whatIsWrongWithChunks() {
    for (text, codes) in [
      ("BDAT 6\r\nQUIT\r\n", [503]),  // before EHLO; the chunk is no command
      ("EHLO c\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", [250, 503, 250]),
      ("EHLO c\r\nMAIL FROM:<a@b.c>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", [250, 250, 554, 250]),
      (Self.opening + "BDAT 2\r\n\r\nDATA\r\n", [250, 250, 250, 250, 503]),
      (Self.opening + "BDAT 2\r\n\r\nRCPT TO:<y@example.com>\r\n", [250, 250, 250, 250, 503]),
      (Self.opening + "BDAT 2\r\n\r\nMAIL FROM:<a@b.c>\r\n", [250, 250, 250, 250, 503]),
      (Self.opening + "BDAT 2\r\n\r\nRSET\r\nBDAT 2 LAST\r\n\r\n", [250, 250, 250, 250, 250, 503]),
      (Self.opening + "BDAT 4 LAST\r\na\nb\nBDAT 6\r\nQUIT\r\n", [250, 250, 250, 550, 503]),
      (Self.opening + "BDAT 3 LAST\r\na\rb", [250, 250, 250, 550]),
      (Self.opening + "BDAT 2 LAST\r\na\r", [250, 250, 250, 550]),
      (Self.opening + "BDAT 2000\r\n" + String(repeating: "a", count: 2000) + "NOOP\r\n", [250, 250, 250, 552, 250]),
      (Self.opening + "BDAT -1\r\n", [250, 250, 250, 501]),
    ] {
      var talk = Conversation { $0.maximumMessageSize = 1000 }
      talk.send(text)
      #expect(talk.codes == [220] + codes, "\(text.debugDescription)")
      #expect(talk.mails.isEmpty)
    }
  }

  @Test func chunksHoldNoMoreThanAMessageMay() {
    var talk = Conversation { $0.maximumMessageSize = 1000 }
    talk.send(Self.opening + "BDAT 600\r\n" + String(repeating: "a", count: 600))
    #expect(talk.session.heldBytes == 600)
    talk.send("BDAT 600\r\n")
    #expect(talk.session.heldBytes == 0)
    talk.send(String(repeating: "a", count: 600))
    #expect(talk.codes.last == 552)
    // Nor when the memory of all messages is short.
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nBDAT 600\r\n" + String(repeating: "a", count: 300))
    talk.session.refuseMessage()
    #expect(talk.session.heldBytes == 0)
    talk.send(String(repeating: "a", count: 300))
    #expect(talk.codes.last == 452)
  }

  /// Commands of a few octets each are no way to stay for ever; a large message in chunks is one.
  @Test func smallChunksAreCommandsThatBringNothing() {
    var talk = Conversation { $0.maximumIdleCommands = 20 }
    talk.send(Self.opening + String(repeating: "BDAT 1\r\na", count: 20))
    #expect(talk.isClosed)
    talk = Conversation { $0.maximumIdleCommands = 20 }
    let part = "BDAT 1024\r\n" + String(repeating: "a", count: 1022) + "\r\n"
    talk.send(Self.opening + String(repeating: part, count: 40) + "BDAT 0 LAST\r\n")
    #expect(talk.mails.map(\.content.count) == [40_960])
  }

  // MARK: SMTPUTF8

  @Test func addressesBeyondASCII() {
    var talk = Conversation()
    talk.send("EHLO c\r\nMAIL FROM:<é@b.c>\r\n")
    #expect(talk.codes.last == 553)
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<é@example.com>\r\nRSET\r\n")
    #expect(talk.codes.suffix(3) == [250, 553, 250])
    talk.send("MAIL FROM:<é@bücher.example> SMTPUTF8 BODY=8BITMIME\r\nRCPT TO:<δοκιμή@example.com>\r\n")
    talk.send("RCPT TO:<x@example.com>\r\nDATA\r\nSubject: é\r\n.\r\n")
    #expect(talk.codes.suffix(5) == [250, 250, 250, 354, 250])
    #expect(talk.mails.map(\.transmission.name) == ["UTF8SMTP"])
    #expect(talk.mails.first?.recipients.map(\.description) == ["δοκιμή@example.com", "x@example.com"])
    #expect(talk.mails.first?.reversePath?.description == "é@bücher.example")
    talk.send("MAIL FROM:<a@b.c> SMTPUTF8=yes\r\n")
    #expect(talk.codes.last == 501)
  }

  @Test(arguments: [[0xC3], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xFF]] as [[UInt8]])
  func whatIsNotUTF8IsNoAddress(_ bytes: [UInt8]) {
    var talk = Conversation()
    talk.send(Array("EHLO c\r\nMAIL FROM:<a".utf8) + bytes + Array("@b.c> SMTPUTF8\r\n".utf8))
    #expect(talk.codes.last == 501)
  }
}

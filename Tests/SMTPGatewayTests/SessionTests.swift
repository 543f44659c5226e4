import Mail
import Pipeline
import SMTPGateway
import Testing

@Suite struct SessionTests {
  @Test func oneMail() throws {
    var talk = Conversation()
    talk.greet()
    talk.send("MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME\r\n")
    talk.send("RCPT TO:<b@example.com>\r\n")
    talk.send("RCPT TO:<c@example.com>\r\n")
    talk.send("DATA\r\n")
    talk.send("Subject: x\r\n\r\n..hi\r\n.\r\n")
    talk.send("QUIT\r\n")
    #expect(
      talk.replies == """
        220 mx.example.com ESMTP Mailflow\r
        250-mx.example.com\r
        250-SIZE 52428800\r
        250-PIPELINING\r
        250-8BITMIME\r
        250-SMTPUTF8\r
        250-CHUNKING\r
        250 ENHANCEDSTATUSCODES\r
        250 2.1.0 Ok\r
        250 2.1.5 Ok\r
        250 2.1.5 Ok\r
        354 End data with <CR><LF>.<CR><LF>\r
        250 2.0.0 Ok: queued as ID\r
        221 2.0.0 mx.example.com closing connection\r\n
        """)
    #expect(talk.isClosed)
    let mail = try #require(talk.mails.first)
    #expect(mail.reversePath?.description == "a@example.org")
    #expect(mail.recipients.map(\.description) == ["b@example.com", "c@example.com"])
    #expect(mail.helo == "client.example.org")
    #expect(mail.remoteAddress == "192.0.2.1")
    #expect(mail.transmission.name == "ESMTP")
    #expect(mail.body == .eightBitMIME)
    #expect(mail.content == Array("Subject: x\r\n\r\n.hi\r\n".utf8))
    #expect(mail.received == talk.now)
  }

  /// Whole conversations, each sent in one piece, byte by byte, and cut in two at every place.
  @Test(arguments: [
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nhello\r\n..\r\n.\r\nQUIT\r\n",
    "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nDATA\r\n.\r\nMAIL FROM:<a@b.c>\r\nRSET\r\nNOOP\r\nQUIT\r\nNOOP\r\n",
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nRSET\r\nVRFY x\r\nQUIT\r\n",
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\na\nb\r\n.\r\nNOOP\r\n",
    "EHLO c\r\nNOOP\nNOOP\r\nNOOP\r\nNO\rOP\r\nNOOP\r\r\nNOOP\r\n",
    "NOOP\nNOOP\nNOOP\nNOOP\n", "NOOP\0\r\n\r\nFOO\r\n\n\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c\r\n",
    "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\na\r\n.\rMAIL\r\n.\r\nEXPN\r\nHELP\r\n",
    "EHLO " + String(repeating: "a", count: 3000) + "\r\nNOOP\r\n",
    "NOOP " + String(repeating: "a", count: 2040) + "\r\nNOOP\r\n",
    String(repeating: "\r", count: 20) + "\n\r\nNOOP\r\n",
  ])
  func splitsDoNotMatter(_ text: String) {
    let bytes = Array(text.utf8)
    let whole = Outcome([bytes[...]])
    #expect(Outcome(bytes.indices.map { bytes[$0...$0] }) == whole)
    for cut in bytes.indices { #expect(Outcome([bytes[..<cut], bytes[cut...]]) == whole, "cut at \(cut)") }
  }

  @Test(arguments: [
    ("MAIL FROM:<a@b.c>", 503), ("RCPT TO:<x@example.com>", 503), ("DATA", 503),
    ("EHLO c|RCPT TO:<x@example.com>", 503), ("EHLO c|DATA", 503),
    ("EHLO c|MAIL FROM:<a@b.c>|MAIL FROM:<a@b.c>", 503), ("EHLO c|MAIL FROM:<a@b.c>|DATA", 554),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<nobody@example.com>|DATA", 554),
    ("EHLO c|MAIL FROM:<a@b.c>|RSET|RCPT TO:<x@example.com>", 503),
    ("EHLO c|MAIL FROM:<a@b.c>|EHLO c|RCPT TO:<x@example.com>", 503),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<x@example.com>|HELO c|DATA", 503), ("RSET", 250), ("NOOP", 250),
    ("VRFY x", 252),
    ("EXPN x", 502), ("HELP", 214), ("QUIT", 221), ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<>", 501),
    ("EHLO c|MAIL FROM:<a@b.c> SIZE=52428800", 250), ("EHLO c|MAIL FROM:<a@b.c> SIZE=52428801", 552),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<nobody@example.com>", 550), ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<a@b.c>", 550),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<busy@example.com>", 452),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<full@example.com>", 552),
    ("EHLO c|MAIL FROM:<a@b.c>|RCPT TO:<away@example.com>", 451),
  ])
  func order(_ lines: String, _ code: Int) {
    var talk = Conversation()
    for line in lines.split(separator: "|") { talk.send("\(line)\r\n") }
    #expect(talk.codes.last == code, "\(talk.replies)")
    #expect(talk.mails.isEmpty)
  }

  @Test func refusalsHaveEnhancedStatusCodes() {
    let expected = [
      "nobody@example.com": "550 5.1.1 ", "a@b.c": "550 5.7.1 ", "busy@example.com": "452 4.2.2 ",
      "full@example.com": "552 5.2.2 ", "away@example.com": "451 4.3.0 ",
    ]
    for (recipient, start) in expected {
      var talk = Conversation()
      talk.greet()
      talk.send("MAIL FROM:<>\r\nRCPT TO:<\(recipient)>\r\n")
      #expect(talk.last.hasPrefix(start))
    }
  }

  @Test(arguments: [
    (AcceptResult.accepted(id: "42"), "250 2.0.0 Ok: queued as 42"), (.unavailable, "451 4.3.0 "),
    (.storageFull, "452 4.3.1 "), (.refused(SMTPReply(554, "5.7.1", "Spam")), "554 5.7.1 Spam"),
    (.refused(SMTPReply(250, "2.0.0", "Ok")), "451 4.3.0 "), (.accepted(id: "x\r\n550 y"), "250 2.0.0 "),
  ])
  func acceptorDecides(_ result: AcceptResult, _ reply: String) {
    var talk = Conversation()
    talk.acceptor = { _ in result }
    talk.announce()
    talk.send("x\r\n.\r\n")
    #expect(talk.mails.count == 1)
    #expect(talk.replies.split(separator: "\r\n").last { $0.hasPrefix(reply) } != nil, "\(talk.replies)")
    // The transaction is over either way.
    talk.send("DATA\r\n")
    #expect(talk.codes.last == 503)
    if case .accepted = result {} else { #expect(!talk.replies.contains("queued as")) }
  }

  @Test func defectsOfTheMessage() {
    for (content, reply) in [
      ("a\nb\r\n.\r\n", "550 5.6.11 "), ("a\rb\r\n.\r\n", "550 5.6.11 "),
      (String(repeating: "12345678\r\n", count: 11) + ".\r\n", "552 5.3.4 Message is"),
    ] {
      var talk = Conversation { $0.maximumMessageSize = 100 }
      talk.announce()
      talk.send(content)
      #expect(talk.last.hasPrefix(reply), "\(talk.replies)")
      #expect(talk.mails.isEmpty)
      talk.send("NOOP\r\n")
      #expect(talk.codes.last == 250)
    }
    var talk = Conversation()
    talk.announce()
    talk.send(String(repeating: "x", count: 65_537) + "\r\n.\r\n")
    #expect(talk.last.hasPrefix("552 5.3.4 Message has a line"))
  }

  @Test func smuggledCommandsAreNeverTaken() {
    for end in ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\r\n"] {
      var talk = Conversation()
      talk.announce()
      talk.send("x\(end)MAIL FROM:<evil@b.c>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nhidden\r\n.\r\n")
      #expect(talk.mails.isEmpty)
      #expect(talk.last.hasPrefix("550 5.6.11 "), "\(end.debugDescription): \(talk.replies)")
    }
    // In commands too: what a bare LF hides is not a command.
    var talk = Conversation()
    talk.send("EHLO c\r\nNOOP\nMAIL FROM:<evil@b.c>\r\nRCPT TO:<x@example.com>\r\n")
    #expect(talk.codes == [220, 250, 500, 503])
  }

  @Test func bareLineEndingsCloseAfterSeveral() {
    var talk = Conversation()
    talk.send("NOOP\nx\r\nNO\rOP\r\nNOOP\r\n")
    #expect(talk.codes == [220, 500, 500, 250])
    talk.send("NOOP\n")
    #expect(talk.codes == [220, 500, 500, 250, 500, 421])
    #expect(talk.isClosed)
  }

  @Test func commandLinesAreLimited() {
    var talk = Conversation()
    talk.greet()
    talk.send("NOOP " + String(repeating: "x", count: 505) + "\r\n")
    talk.send("NOOP " + String(repeating: "x", count: 506) + "\r\n")
    talk.send(String(repeating: "x", count: 5000))
    talk.send(String(repeating: "x", count: 5000) + "\r\n")
    talk.send("MAIL FROM:<a@b.c>" + String(repeating: " ", count: 2000) + "SIZE=1\r\n")
    #expect(talk.codes == [220, 250, 250, 500, 500, 250])
    talk.send(String(repeating: "x", count: 70_000))
    #expect(talk.codes.last == 421)
    #expect(talk.isClosed)
  }

  @Test func recipientsAreLimited() {
    var talk = Conversation { $0.maximumRecipients = 3 }
    talk.greet()
    talk.send("MAIL FROM:<a@b.c>\r\n")
    for index in 0..<5 { talk.send("RCPT TO:<u\(index)@example.com>\r\n") }
    #expect(talk.codes.suffix(5) == [250, 250, 250, 452, 452])
    #expect(talk.last.hasPrefix("452 4.5.3 "))
    talk.send("DATA\r\nx\r\n.\r\n")
    #expect(talk.mails.map(\.recipients.count) == [3])
    talk.send("MAIL FROM:<a@b.c>\r\n")
    for _ in 0..<6 { talk.send("RCPT TO:<same@example.com>\r\n") }
    #expect(!talk.isClosed)
    talk.send("RCPT TO:<same@example.com>\r\n")
    #expect(talk.codes.last == 421)
  }

  @Test func aRecipientCountsOnce() {
    var talk = Conversation()
    talk.greet()
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<u@example.com>\r\nRCPT TO:<u@example.com>\r\nRCPT TO:<U@example.com>\r\n")
    talk.send("DATA\r\n.\r\n")
    #expect(talk.mails.first?.recipients.map(\.description) == ["u@example.com", "U@example.com"])
  }

  @Test func errorsAndIdleCommandsAreLimited() {
    var talk = Conversation { $0.maximumErrors = 3 }
    talk.send("A\r\nB\r\nC\r\nNOOP\r\n")
    #expect(talk.codes == [220, 500, 500, 500, 421])
    var idler = Conversation { $0.maximumIdleCommands = 5 }
    for _ in 0..<10 { idler.send("NOOP\r\n") }
    #expect(idler.codes == [220, 250, 250, 250, 250, 250, 421])
    #expect(idler.last.hasPrefix("421 4.7.0 "))
    // Mail sets the counter back.
    var busy = Conversation { $0.maximumIdleCommands = 5 }
    busy.greet()
    for _ in 0..<10 { busy.send("MAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n") }
    #expect(busy.mails.count == 10)
  }

  /// A browser or a TLS client that was made to talk to us: what its author has put behind the first line is no mail.
  @Test(arguments: [
    "POST / HTTP/1.1", "PATCH / HTTP/1.1", "POST /" + String(repeating: "a", count: 3000) + " HTTP/1.1",
    "\u{16}\u{3}\u{1}\0\u{5}\u{1}",
  ])
  func otherProtocolsAreSentAway(_ first: String) {
    var talk = Conversation()
    talk.send("\(first)\r\n\r\nEHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n")
    #expect(talk.codes == [220, 421])
    #expect(talk.isClosed)
    #expect(talk.mails.isEmpty)
  }

  @Test func aBatchIsAnsweredAtOnce() {
    var talk = Conversation()
    talk.greet()
    let before = talk.writes
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<a@example.com>\r\nRCPT TO:<nobody@example.com>\r\nDATA\r\n")
    #expect(talk.writes == before + 1)
    #expect(talk.codes == [220, 250, 250, 250, 550, 354])
    talk.send("x\r\n.\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    #expect(talk.writes == before + 2)
    #expect(talk.codes.suffix(4) == [250, 250, 250, 354])
  }

  @Test func nothingIsHeldWhileIdle() {
    var talk = Conversation()
    talk.announce()
    talk.send("x\r\n")
    #expect(talk.session.heldBytes == 3)
    talk.send(".\r\nNOOP\r\n")
    #expect(talk.session.heldBytes == 0)
    #expect(talk.session.takeOutput().capacity == 0)
    #expect(MemoryLayout<SMTPSession>.size < 1024)
  }

  @Test func aMessageWithoutMemoryIsRefused() {
    var talk = Conversation()
    talk.announce()
    talk.send("some\r\n")
    talk.session.refuseMessage()
    #expect(talk.session.heldBytes == 0)
    talk.send("more\r\n.\r\n")
    #expect(talk.last.hasPrefix("452 4.3.1 "))
    #expect(talk.mails.isEmpty)
    talk.send("MAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n")
    #expect(talk.mails.count == 1)
  }
}

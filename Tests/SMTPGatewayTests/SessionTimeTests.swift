import Mail
import Pipeline
import SMTPGateway
import Testing

/// Deadlines and the end of the service, with time that the tests set.
@Suite struct SessionTimeTests {
  @Test func aCommandHasOneDeadlineHoweverItDrips() {
    var talk = Conversation()
    let start = talk.now
    #expect(talk.session.deadline == start + .seconds(300))
    talk.now = start + .seconds(200)
    talk.send("NO")
    #expect(talk.session.deadline == start + .seconds(300))
    talk.send("OP\r\nN")
    #expect(talk.session.deadline == start + .seconds(500))
  }

  @Test func dataHasItsOwnLimits() {
    var talk = Conversation { $0.timeLimits.message = .seconds(400) }
    let start = talk.now
    talk.announce()
    #expect(talk.session.deadline == start + .seconds(120))
    talk.now = start + .seconds(100)
    talk.send("a")
    #expect(talk.session.deadline == start + .seconds(280))
    talk.now = start + .seconds(250)
    talk.send("b")
    #expect(talk.session.deadline == start + .seconds(430))
    talk.now = start + .seconds(400)
    talk.send("c")
    // 400 s for the whole message, from its first octet.
    #expect(talk.session.deadline == start + .seconds(500))
    talk.send("\r\n.\r\n")
    #expect(talk.session.deadline == start + .seconds(700))
  }

  @Test func aTimeOutCloses() {
    var talk = Conversation()
    guard case .close = talk.session.timedOut() else {
      Issue.record("goes on")
      return
    }
    talk.flush()
    #expect(talk.last.hasPrefix("421 4.4.2 "))
    talk.send("NOOP\r\n")
    #expect(talk.codes == [220, 421])
  }

  @Test func anIdleClientIsSentAwayAtTheEnd() {
    for begun in ["", "EHLO c\r\n", "EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<b@example.com>\r\n", "EHL"] {
      var talk = Conversation()
      talk.send(begun)
      guard case .close = talk.session.drain() else {
        Issue.record("goes on after \(begun)")
        continue
      }
      talk.flush()
      #expect(talk.last.hasPrefix("421 4.3.2 "))
    }
  }

  @Test func aMessageThatArrivesIsFinishedAtTheEnd() {
    var talk = Conversation()
    talk.announce()
    talk.send("half")
    guard case .read = talk.session.drain() else {
      Issue.record("cut off")
      return
    }
    talk.send(" and half\r\n.\r\nMAIL FROM:<next@b.c>\r\n")
    #expect(talk.mails.count == 1)
    #expect(talk.codes.suffix(3) == [354, 250, 421])
    #expect(talk.isClosed)
  }

  @Test func theEndWaitsForAnswers() {
    var session = SMTPSession(
      SMTPSessionConfiguration(hostname: "mx.example.com"), remoteAddress: "::1", at: Timestamp(microseconds: 0))
    let now = Timestamp(microseconds: 0)
    let bytes = Array("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n".utf8)
    guard case (_, .resolve) = bytes.withUnsafeBytes({ session.receive($0, at: now) }) else {
      Issue.record("no question")
      return
    }
    guard case .read = session.drain(), case .close = session.resolved(.known, at: now) else {
      Issue.record("must answer, then close")
      return
    }
    let output = String(decoding: session.takeOutput(), as: UTF8.self)
    #expect(output.hasSuffix("250 2.1.5 Ok\r\n421 4.3.2 Service is shutting down, try again later\r\n"))
  }
}

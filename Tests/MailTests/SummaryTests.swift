import Pipeline
import Testing

@testable import Mail

@Suite struct SummaryTests {
  @Test func readsWhatListsShow() {
    let summary = MessageSummary(
      Bytes(
        "From: =?utf-8?q?J=C3=BCrgen?= <j@x>\r\nTo: a@b,\r\n c@d\r\nSubject: Hi\r\nDate: 1 Jan 2003 00:00:00 Z\r\n"
          + "Message-ID: <1@x>\r\n\r\nHello,\r\n\r\n  this is \u{1}it.\r\n"))
    #expect(
      summary
        == MessageSummary(
          messageID: "1@x", from: "Jürgen <j@x>", to: "a@b, c@d", subject: "Hi",
          date: Timestamp(milliseconds: 1_041_379_200_000), preview: "Hello, this is it.", hasAttachment: false))
  }

  @Test func looksIntoParts() {
    let text = """
      Content-Type: multipart/mixed; boundary="a b"

      preamble
      --a b
      Content-Type: multipart/alternative; boundary=inner

      --inner
      Content-Transfer-Encoding: quoted-printable

      Gr=C3=BC=
      =C3=9Fe
      --inner
      Content-Type: text/html

      <p>
      --inner--
      --a b
      Content-Type: application/pdf; name=x.pdf
      Content-Disposition: attachment

      %PDF
      --a b--
      """
    let summary = MessageSummary(Bytes(text))
    #expect(summary.preview == "Grüße")
    #expect(summary.hasAttachment)
  }

  @Test(arguments: [
    ("<html><head><title>T</title><style>p{a:b}</style></head><BODY>Hello&nbsp;<b>you</b>&#33;", "Hello you!"),
    ("<!-- <p>no -->a&amp;b&lt;c&unknown;&#xZZ;&#1114112;", "a&b<c&unknown;&#xZZ;\u{FFFD}"),
    ("a < b", "a < b"), ("<p", ""), ("<", "<"), ("&", "&"), ("<script>x", ""), ("<!--", ""), ("x<style>", "x"),
    ("&#0;&#8238;x", "\u{FFFD} x"),
  ])
  func showsTheTextOfHTML(_ html: String, _ preview: String) {
    #expect(MessageSummary(Bytes("Content-Type: text/html\r\n\r\n\(html)")).preview == preview)
  }

  @Test func bombsAreBounded() {
    var nested = ""
    for level in 0..<1000 {
      nested += "Content-Type: multipart/mixed; boundary=b\(level)\r\n\r\n--b\(level)\r\n"
    }
    #expect(MessageSummary(Bytes(nested)).preview == "")
    let many =
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + String(repeating: "--b\r\n\r\n\r\n", count: 100_000)
    #expect(MessageSummary(Bytes(many)).hasAttachment == false)
    let long = "Subject: \(String(repeating: "x", count: 100_000))\r\n\r\n\(String(repeating: "y", count: 100_000))"
    let summary = MessageSummary(Bytes(long))
    #expect(summary.subject.utf8.count == 1024)
    #expect(summary.preview.count == 200)
  }

  @Test(arguments: [
    ("  a \t\r\n\u{7}b\u{A0}\u{2003}c \n", "a b c"),
    (String(repeating: "ab ", count: 1000), String(repeating: "ab ", count: 66) + "ab"),
    (String(repeating: "x", count: 300), String(repeating: "x", count: 200)),
    (String(repeating: "ü", count: 300), String(repeating: "ü", count: 200)),
    (String(repeating: "x", count: 199) + "  e\u{301}f", String(repeating: "x", count: 199) + " "),
    ("\u{202E}abc", "abc"), (" \n ", ""), ("", ""),
  ])
  func putsTheTextOnOneLine(_ text: String, _ line: String) {
    #expect(MessageSummary(Bytes("\r\n" + text)).preview == line)
  }

  @Test func traceHeadersAreWhole() throws {
    let id = try #require(MessageID("01939d7a-2b00-7000-8000-000000000001"))
    let envelope = Envelope(
      sender: EmailAddress("s@x"), recipients: [], helo: "evil\r\nX: (1)", remoteAddress: "2001:db8::1",
      remoteName: "mx.example", protocolName: "ESMTPS")
    let time = Timestamp(milliseconds: 1_795_509_000_000)
    #expect(
      TraceHeaders.received(envelope, host: "mail.example", id: id, recipient: EmailAddress("a@b"), time: time)
        == "Received: from evilX:1 (mx.example [IPv6:2001:db8::1])\r\n\tby mail.example with ESMTPS id \(id)\r\n"
        + "\tfor <a@b>;\r\n\tTue, 24 Nov 2026 08:30:00 +0000\r\n")
    #expect(TraceHeaders.returnPath(nil) == "Return-Path: <>\r\n")
    #expect(TraceHeaders.returnPath(envelope.sender) == "Return-Path: <s@x>\r\n")
    var encrypted = envelope
    encrypted.encryption = "TLSv1.3 TLS_AES_128_GCM_SHA256) evil"
    #expect(
      TraceHeaders.received(encrypted, host: "mail.example", id: id, recipient: nil, time: time)
        == "Received: from evilX:1 (mx.example [IPv6:2001:db8::1])\r\n\tby mail.example with ESMTPS "
        + "(TLSv1.3 TLS_AES_128_GCM_SHA256 evil)\r\n\tid \(id);\r\n\tTue, 24 Nov 2026 08:30:00 +0000\r\n")
    let bare = TraceHeaders.received(
      Envelope(sender: nil, recipients: [], protocolName: "HTTP"), host: "h", id: id, recipient: nil, time: time)
    #expect(bare == "Received: by h with HTTP id \(id);\r\n\tTue, 24 Nov 2026 08:30:00 +0000\r\n")
  }

  @Test func envelopeSurvivesTheJourney() throws {
    let envelope = Envelope(
      sender: nil, recipients: [try #require(EmailAddress("\"a b\"@x")), try #require(EmailAddress("c@y"))],
      helo: "h", remoteAddress: "192.0.2.1", protocolName: "ESMTPSA", encryption: "TLSv1.2 X", isEightBit: true,
      receivedBy: "mail.x",
      authenticated: EmailAddress("u@x"))
    let message = Message(
      id: MessageID(at: Timestamp(milliseconds: 1), random: SystemRandom()), flow: "inbound", source: "smtp",
      contentType: "message/rfc822", content: Content(.empty), attributes: envelope.attributes)
    #expect(Envelope(message) == envelope)
  }
}

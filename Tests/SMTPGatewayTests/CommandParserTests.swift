import Mail
import SMTPGateway
import Testing

@Suite struct CommandParserTests {
  private func parse(_ line: String) -> Result<SMTPCommand, SMTPSyntaxError> {
    Result { () throws(SMTPSyntaxError) in try SMTPCommandParser.parse(Array(line.utf8)) }
  }

  @Test(arguments: [
    ("EHLO client.example.org", SMTPCommand.ehlo("client.example.org")), ("ehlo localhost", .ehlo("localhost")),
    ("EHLO  two.spaces  ", .ehlo("two.spaces")), ("EHLO [192.0.2.1]", .ehlo("[192.0.2.1]")),
    ("EHLO [IPv6:2001:db8::1]", .ehlo("[IPv6:2001:db8::1]")), ("EHLO [ipv6:::1]", .ehlo("[IPv6:::1]")),
    ("HELO win_pc", .helo("win_pc")), ("EHLO mac.local.", .ehlo("mac.local")), ("DATA", .data), ("data ", .data),
    ("RSET", .rset), ("NOOP", .noop),
    ("NOOP whatever 1 2 3", .noop), ("QUIT", .quit), ("quit", .quit), ("VRFY somebody", .vrfy), ("EXPN list", .expn),
    ("HELP", .help), ("HELP MAIL", .help), ("starttls", .startTLS), ("BDAT 5 LAST", .bdat(octets: 5, isLast: true)),
    ("bdat 0 last", .bdat(octets: 0, isLast: true)), ("BDAT 12345", .bdat(octets: 12345, isLast: false)),
    ("BDAT 99999999999999999999", .bdat(octets: .max, isLast: false)),
  ])
  func simpleCommands(_ line: String, _ command: SMTPCommand) { #expect(parse(line) == .success(command)) }

  @Test(arguments: [
    ("MAIL FROM:<>", "<> nil 7BIT"), ("mail from:<a@b.c>", "a@b.c nil 7BIT"), ("MAIL FROM: <a@b.c>", "a@b.c nil 7BIT"),
    ("MAIL FROM:<A.b+c@B-2.example>", "A.b+c@b-2.example nil 7BIT"),
    ("MAIL FROM:<a@b.c> SIZE=1000", "a@b.c 1000 7BIT"), ("MAIL FROM:<a@b.c> size=0 body=8bitmime", "a@b.c 0 8BITMIME"),
    ("MAIL FROM:<a@b.c>  BODY=7BIT", "a@b.c nil 7BIT"),
    ("MAIL FROM:<a@b.c> SIZE=99999999999999999999", "a@b.c \(Int.max) 7BIT"),
    ("MAIL FROM:<@x.org,@y.org:a@b.c>", "a@b.c nil 7BIT"), ("MAIL FROM:<\"a b\"@b.c>", "\"a b\"@b.c nil 7BIT"),
    (#"MAIL FROM:<"a\"b\\c"@b.c>"#, #""a\"b\\c"@b.c nil 7BIT"#), (#"MAIL FROM:<"plain"@b.c>"#, "plain@b.c nil 7BIT"),
    (#"MAIL FROM:<"a@b>"@c.d>"#, #""a@b>"@c.d nil 7BIT"#), ("MAIL FROM:<a@[127.0.0.1]>", "a@[127.0.0.1] nil 7BIT"),
    ("MAIL FROM:<!#$%&'*+-/=?^_`{|}~@b.c>", "!#$%&'*+-/=?^_`{|}~@b.c nil 7BIT"),
  ])
  func mail(_ line: String, _ expected: String) throws {
    guard case .success(.mail(let mail)) = parse(line) else {
      Issue.record("\(line): \(parse(line))")
      return
    }
    let size = mail.size.map { "\($0)" } ?? "nil"
    #expect("\(mail.reversePath?.description ?? "<>") \(size) \(mail.body.rawValue)" == expected)
  }

  @Test(arguments: [
    ("RCPT TO:<a@b.c>", "a@b.c"), ("rcpt to:<a@b.c>", "a@b.c"), ("RCPT TO:<postmaster>", "postmaster"),
    ("RCPT TO:<PostMaster>", "postmaster"), ("RCPT TO:<Postmaster@B.c>", "Postmaster@b.c"),
    ("RCPT TO:<@relay.example:a@b.c>", "a@b.c"),
    (#"RCPT TO:<"\a"@b.c>"#, "a@b.c"), (#"RCPT TO:<" "@b.c>"#, #"" "@b.c"#), (#"RCPT TO:<".a."@b.c>"#, #"".a."@b.c"#),
  ])
  func recipients(_ line: String, _ expected: String) {
    switch parse(line) {
    case .success(.rcpt(.address(let address))): #expect(address.description == expected)
    case .success(.rcpt(.postmaster)): #expect(expected == "postmaster")
    default: Issue.record("\(line): \(parse(line))")
    }
  }

  @Test(arguments: [
    ("", 500), (" ", 500), ("FOO", 500), ("MAILFROM:<a@b.c>", 500), ("DATA1", 500), (" NOOP", 500), ("EHLO\tx", 500),
    ("\u{16}\u{3}\u{1}", 500), ("STARTTLS now", 501), ("AUTH PLAIN", 500), ("BDAT 5 LAST x", 501),
    ("BDAT", 501), ("BDAT -5", 501), ("BDAT 5LAST", 501), ("BDAT 123456789012345678901", 501),
    ("EHLO", 501), ("HELO ", 501), ("EHLO a b", 501), ("EHLO -a", 501), ("EHLO a..b", 501), ("EHLO .a", 501),
    ("EHLO (evil)", 501), ("EHLO [1.2.3]", 501), ("EHLO [1.2.3.4", 501), ("EHLO [IPv6:1.2.3.4]", 501),
    ("EHLO [IPv6:zz]", 501), ("EHLO [foo:bar]", 501), ("EHLO []", 501), ("DATA now", 501), ("RSET x", 501),
    ("QUIT now", 501), ("VRFY", 501), ("MAIL", 501), ("MAIL FROM", 501), ("MAIL FROM:", 501), ("MAIL FROM a@b.c", 501),
    ("MAIL FROM:a@b.c", 501), ("MAIL FROM:<a@b.c", 501), ("MAIL FROM:<a>", 501), ("MAIL FROM:<postmaster>", 501),
    ("MAIL FROM:<a@>", 501), ("MAIL FROM:<@b.c>", 501), ("MAIL FROM:<@b.c:>", 501), ("MAIL FROM:<a@b@c>", 501),
    ("MAIL FROM:<a b@c.d>", 501), ("MAIL FROM:<.a@b.c>", 501), ("MAIL FROM:<a.@b.c>", 501), ("MAIL FROM:<a..b@c>", 501),
    ("MAIL FROM:<a@b..c>", 501), ("MAIL FROM:<a@-b.c>", 501), ("MAIL FROM:<a@b.c.>", 501), ("MAIL FROM:<a@b_c.d>", 501),
    (#"MAIL FROM:<"a@b.c>"#, 501), (#"MAIL FROM:<""@b.c>"#, 501), (#"MAIL FROM:<"a"b@c.d>"#, 501),
    ("MAIL FROM:<a@b.c>SIZE=1", 501), ("MAIL FROM:<a@b.c> SIZE", 501), ("MAIL FROM:<a@b.c> SIZE=", 501),
    ("MAIL FROM:<a@b.c> SIZE=-1", 501), ("MAIL FROM:<a@b.c> SIZE=1x", 501), ("MAIL FROM:<a@b.c> SIZE=1 SIZE=2", 501),
    ("MAIL FROM:<a@b.c> SIZE=111111111111111111111", 501), ("MAIL FROM:<a@b.c> BODY=BINARYMIME", 501),
    ("MAIL FROM:<a@b.c> =1", 501), ("MAIL FROM:<a@b.c> -X=1", 501), ("MAIL FROM:<a@b.c> X=1=2", 501),
    ("MAIL FROM:<a@b.c> AUTH=<>", 555), ("MAIL FROM:<a@b.c> SMTPUTF8=1", 501), ("MAIL FROM:<a@b.c> RET=FULL", 555),
    ("RCPT", 501), ("RCPT TO:<>", 501), ("RCPT TO:<someone>", 501), ("RCPT TO:a@b.c", 501),
    ("RCPT TO:<a@b.c> x y", 555),
    ("RCPT TO:<a@b.c> NOTIFY=NEVER", 555), ("MAIL FROM:<ä@b.c>", 553), ("EHLO ä", 553),
    ("MAIL FROM:<a\u{7f}@b.c>", 501), ("MAIL FROM:<a@b.c>\tSIZE=1", 501),
  ])
  func refused(_ line: String, _ code: Int) {
    guard case .failure(let error) = parse(line) else {
      Issue.record("\(line) was taken: \(parse(line))")
      return
    }
    #expect(error.reply.code == code, "\(line): \(error.reply)")
  }

  @Test func lengthsOfPathsAreLimited() {
    let local = String(repeating: "l", count: 64)
    let label = String(repeating: "d", count: 63)
    let domain = "\(label).\(label).\(label)"  // 191 octets: 64 + 1 + 189 + 2 would be the longest path
    #expect((try? parse("RCPT TO:<\(local)@\(domain.dropLast(2))>").get()) != nil)
    #expect(parse("RCPT TO:<\(local)@\(domain)>") == .failure(.forwardPath))
    #expect(parse("RCPT TO:<\(local)l@b.c>") == .failure(.forwardPath))
    #expect(parse("RCPT TO:<a@\(label)d.c>") == .failure(.forwardPath))
    #expect(parse("RCPT TO:<\"\(local)l\"@b.c>") == .failure(.forwardPath))
  }

  @Test func linesAreLimited() {
    let longest = "NOOP " + String(repeating: "x", count: 505)
    #expect(parse(longest) == .success(.noop))
    #expect(parse(longest + "x") == .failure(.lineTooLong))
    let route = (0..<40).map { "@relay\($0).example.org" }.joined(separator: ",")
    #expect(parse("RCPT TO:<\(route):a@b.c>") == parse("RCPT TO:<a@b.c>"))
  }
}

@Suite struct ReplyTests {
  @Test func severalLines() {
    #expect(SMTPReply(214, "2.0.0", "one\ntwo").description == "214-2.0.0 one\r\n214 2.0.0 two")
    #expect(SMTPReply(250, nil, "").description == "250 ")
  }
  @Test func nothingFromOutsideBreaksOutOfALine() {
    #expect(SMTPReply(550, "5.7.1", "a\r\n250 ok\u{0}ä").description == "550-5.7.1 a\r\n550 5.7.1 250 ok???")
    #expect(SMTPReply(550, "5\r\n", "x\r250").description == "550 5?? x250")
    let long = SMTPReply(550, "5.7.1", String(repeating: "x", count: 1000)).description
    #expect(long.utf8.count == 510)
    #expect(SMTPReply(99, nil, "x").code == 451)
    #expect(SMTPReply(600, nil, "x").code == 451)
  }
}

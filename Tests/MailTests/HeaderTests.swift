import Mail
import Pipeline
import Testing

@Suite struct HeaderTests {
  private func section(_ text: String) -> HeaderSection { HeaderSection(Bytes(text)) }

  @Test func readsFieldsInOrder() {
    let message = "From: a@b\r\nSubject: one\r\n\ttwo\r\n  three \r\nX:\r\nfrom: again\r\n\r\nbody: no field\r\n"
    let header = section(message)
    #expect(header.fields.map(\.name) == ["From", "Subject", "X", "from"])
    #expect(header.first("SUBJECT")?.display() == "one two  three")
    #expect(header.first("x")?.unfolded == [])
    #expect(header.all("From").map { $0.display() } == ["a@b", "again"])
    #expect(header.count(of: "from") == 2)
    #expect(header.first("body") == nil)
    #expect(Bytes(message)[header.bodyStart..<message.utf8.count].text == "body: no field\r\n")
    #expect(header.defects.isEmpty)
  }

  @Test(
    arguments: [
      ("", 0, 0, HeaderSection.Defects()),
      ("\r\nbody", 0, 2, []),
      ("A: b", 1, 4, []),
      ("A: b\r\n", 1, 6, []),
      ("A: b\n\nbody", 1, 6, .bareLF),
      ("A: b\r\nno field\r\n\r\nbody", 1, 6, .noEmptyLine),
      ("no field\r\n", 0, 0, .noEmptyLine),
      ("A : b\r\n\r\n", 1, 9, .spaceBeforeColon),
      ("From x Sat Jan  3 01:05:34 1996\r\nA: b\r\n\r\n", 1, 41, .strayLine),
      (" continued\r\nA: b\r\n\r\n", 1, 20, .strayLine),
      ("A: b\u{0}\r\n\r\n", 1, 9, .nul),
      ("A: b\rB: c\r\n\r\n", 1, 13, .bareCR),
      ("A: é\r\n\r\n", 1, 9, .eightBit),
      ("ä: b\r\n\r\n", 0, 0, .noEmptyLine),
      (": b\r\n\r\n", 0, 0, .noEmptyLine),
    ] as [(String, Int, Int, HeaderSection.Defects)])
  func tolerates(_ text: String, _ fields: Int, _ bodyStart: Int, _ defects: HeaderSection.Defects) {
    let header = section(text)
    #expect(header.count == fields)
    #expect(header.bodyStart == bodyStart)
    #expect(header.defects == defects)
  }

  @Test func saysAtWhichLine() {
    #expect(section("A: b\r\nB: c\r\nC: \u{0}\r\n\r\n").firstDefectLine == 3)
    #expect(section("A: b\r\nB: \(String(repeating: "x", count: 996))\r\n\r\n").firstDefectLine == 2)
  }

  @Test func aMillionFieldsAreBounded() {
    var text = [UInt8]()
    for _ in 0..<1_000_000 { text += "A: b\r\n".utf8 }
    text += "\r\nbody".utf8
    let header = HeaderSection(Bytes(text))
    #expect(header.count == 2000)
    #expect(header.defects == .beyondLimits)
    #expect(header.bodyStart == text.count - 4)
    let folded = HeaderSection(Bytes(Array("A: b\r\n".utf8) + Array(String(repeating: " x\r\n", count: 500_000).utf8)))
    #expect(folded.defects == .beyondLimits)
    #expect(folded.first("a").map { $0.rawValue.count < 600_000 } == true)
  }

  @Test func everyPrefixCanBeRead() {
    let message = Array("From x\nA: b\r\n c\u{0}\rd\r\nno\u{80}: =?utf-8?q?x\r\n\n\r\n\r\n--x\r\n".utf8)
    for count in 0...message.count {
      let header = HeaderSection(Bytes(message[..<count]))
      #expect(header.bodyStart <= count)
      for field in header.fields { _ = field.display() }
    }
  }

  @Test(arguments: [
    ("plain", "plain"),
    ("=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
    ("=?utf-8?b?7JWI64WV?= hello", "안녕 hello"),
    ("=?ISO-8859-1?Q?a_b=E9?=", "a bé"),
    ("=?iso-8859-1*fr?q?=E9?=", "é"),
    ("=?US-ASCII?Q?x?= =?US-ASCII?Q?y?=", "xy"),
    ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
    ("=?utf-8?b?7JW=?= =?utf-8?b?iA==?=", "안"),
    ("=?utf-8?q?=EC?=\t=?utf-8?q?=95=88?=", "안"),
    ("=?koi8-r?q?=C1?=", "а"),
    ("=?ks_c_5601-1987?B?vsiz5w==?=", "안녕"),
    ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
    ("=?gb2312?B?yKvH8g==?=", "全球"),
    ("=?windows-1252?q?=93x=94?=", "“x”"),
    ("=?euc-jp?q?a=FF=C6b?=", "a\u{FFFD}\u{FFFD}b"),
    ("=?x-unknown?q?=C1?=", "=?x-unknown?q?=C1?="),
    ("=?utf-8//IGNORE?q?=C1?=", "=?utf-8//IGNORE?q?=C1?="),
    ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
    ("=?utf-8?q?a", "=?utf-8?q?a"),
    ("=?utf-8?q?a b?=", "a b"),
    ("=?", "=?"),
    ("a=b", "a=b"),
    ("=?utf-8?q?=0D=0AX-Evil:_1?=", "  X-Evil: 1"),
    ("=?utf-8?q?=E2=80=AEevil?=", " evil"),
    ("é", "é"),
  ])
  func decodesWords(_ raw: String, _ shown: String) { #expect(HeaderText.decode(raw.utf8) == shown) }

  @Test func rawLatinIsShown() { #expect(HeaderText.decode([0x47, 0x72, 0xFC]) == "Grü") }

  @Test(
    arguments: [
      ("<a@b>", "a@b"), (" <a@b> (x)", "a@b"), ("a@b", "a@b"), ("<a\r\n b>", "ab"), ("<>", nil), ("", nil), ("<a", "a"),
    ] as [(String, String?)])
  func findsMessageID(_ value: String, _ id: String?) {
    #expect(section("Message-ID: \(value)\r\n\r\n").messageID == id)
  }

  @Test(
    arguments: [
      ("From: a@b\r\nDate: 1 Jan 2003 00:00:00 Z\r\n\r\n", nil, nil),
      ("Subject: no date\r\n\r\n", nil, "syntax.header"),
      ("From: a@b\r\nFrom: c@d\r\nDate: 1 Jan 2003 00:00:00 Z\r\n\r\n", nil, "syntax.header"),
      ("From: a@b\r\nDate: tomorrow\r\n\r\n", nil, "syntax.date"),
      ("From: a@b\r\nDate: 1 Jan 2003 00:00:00 Z\r\nbody\r\n", nil, "syntax.header"),
      ("From: a@b\nDate: 1 Jan 2003 00:00:00 Z\n\n", nil, "syntax.header"),
      ("", "syntax.header", "syntax.header"),
      ("no field\r\n", "syntax.header", "syntax.header"),
      ("A: b\u{0}\r\n\r\n", "syntax.header", "syntax.header"),
      ("A: b\rc\r\n\r\n", "syntax.header", "syntax.header"),
    ] as [(String, String?, String?)])
  func checks(_ text: String, _ tolerant: String?, _ strict: String?) {
    #expect(HeaderCheck(level: .tolerant).problem(section(text))?.reason == tolerant)
    #expect(HeaderCheck(level: .strict).problem(section(text))?.reason == strict)
    #expect(HeaderCheck(level: .off).problem(section(text)) == nil)
  }

  @Test func refusesEightBitWhenTold() {
    let header = section("A: b\r\nSubject: é\r\n\r\n")
    #expect(HeaderCheck(level: .off, allowsEightBit: false).problem(header)?.reason == "header.8bit")
    #expect(HeaderCheck(level: .strict, allowsEightBit: false).problem(header)?.message.contains("line 2") == true)
    #expect(HeaderCheck(level: .tolerant).problem(header) == nil)
  }
}

import Mail
import Pipeline
import Testing

/// One line for each part: number, type, defects, and the body.
private func outline(_ message: MIMEMessage) -> [String] {
  message.parts.map { part in
    let body = part.isContainer ? "" : " [\(part.content().text)]"
    return "\(part.number.isEmpty ? "-" : part.number) \(part.type.value)\(body)"
  }
}

private func read(_ text: String) -> MIMEMessage { MIMEMessage(Bytes(text)) }

@Suite struct MIMETests {
  /// RFC 2046 section 5.1.1.
  @Test func simpleMultipart() {
    let message = read(
      """
      From: Nathaniel Borenstein <nsb@bellcore.com>
      To: Ned Freed <ned@innosoft.com>
      Date: Sun, 21 Mar 1993 23:56:48 -0800 (PST)
      Subject: Sample message
      MIME-Version: 1.0
      Content-type: multipart/mixed; boundary="simple boundary"

      This is the preamble.  It is to be ignored.

      --simple boundary

      This is implicitly typed plain US-ASCII text.
      It does NOT end with a linebreak.
      --simple boundary
      Content-type: text/plain; charset=us-ascii

      This is explicitly typed plain US-ASCII text.
      It DOES end with a linebreak.

      --simple boundary--

      This is the epilogue.  It is also to be ignored.
      """)
    #expect(
      outline(message) == [
        "- multipart/mixed",
        "1 text/plain [This is implicitly typed plain US-ASCII text.\nIt does NOT end with a linebreak.]",
        "2 text/plain [This is explicitly typed plain US-ASCII text.\nIt DOES end with a linebreak.\n]",
      ])
    #expect(message.defects.isEmpty)
    #expect(message.parts.map(\.depth) == [0, 1, 1])
    #expect(message.children(of: message.parts[0]).map(\.index) == [1, 2])
    #expect(message.part("2")?.index == 2)
    #expect(message.part("3") == nil)
    #expect(message.part("") == nil)
  }

  /// The numbers of RFC 9051 section 6.4.5.1, with what holds what.
  @Test func numbersAreThoseOfIMAP() {
    func multipart(_ type: String, _ boundary: String, _ parts: [String]) -> String {
      "Content-Type: multipart/\(type); boundary=\(boundary)\r\n\r\n"
        + parts.map { "--\(boundary)\r\n\($0)\r\n" }.joined() + "--\(boundary)--\r\n"
    }
    let inner = multipart("alternative", "c", ["\r\nplain", "Content-Type: text/richtext\r\n\r\nrich"])
    let message = read(
      multipart(
        "mixed", "a",
        [
          "\r\none", "Content-Type: application/octet-stream\r\n\r\ntwo",
          "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n"
            + multipart("mixed", "b", ["\r\nx", "Content-Type: application/octet-stream\r\n\r\ny"]),
          multipart(
            "mixed", "b2",
            [
              "Content-Type: image/gif\r\n\r\ngif",
              "Content-Type: message/rfc822\r\n\r\n" + multipart("mixed", "b3", ["\r\nt", inner]),
              "Content-Type: message/rfc822\r\n\r\nSubject: alone\r\n\r\nalone",
            ]),
        ]))
    #expect(
      message.parts.map { "\($0.number) \($0.type.value)" } == [
        " multipart/mixed", "1 text/plain", "2 application/octet-stream", "3 message/rfc822", "3 multipart/mixed",
        "3.1 text/plain", "3.2 application/octet-stream", "4 multipart/mixed", "4.1 image/gif", "4.2 message/rfc822",
        "4.2 multipart/mixed", "4.2.1 text/plain", "4.2.2 multipart/alternative", "4.2.2.1 text/plain",
        "4.2.2.2 text/richtext", "4.3 message/rfc822", "4.3.1 text/plain",
      ])
    #expect(message.part("3")?.type.value == "message/rfc822")
    #expect(message.part("4.3.1")?.content().text == "alone")
    #expect(
      message.parts.map { message.parent(of: $0)?.index ?? -1 } == [
        -1, 0, 0, 0, 3, 4, 4, 0, 7, 7, 9, 10, 10, 12, 12, 7, 15,
      ])
    #expect(read("Subject: x\r\n\r\nbody").parts.map(\.number) == ["1"])
    #expect(read("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx").parts.map(\.number) == ["1", "1.1"])
  }

  @Test func aDigestHoldsMessages() {
    let message = read(
      "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: one\r\n\r\n1\r\n--d\r\n\r\nSubject: two\r\n\r\n2\r\n--d--"
    )
    #expect(
      outline(message) == [
        "- multipart/digest", "1 message/rfc822", "1.1 text/plain [1]", "2 message/rfc822", "2.1 text/plain [2]",
      ])
    #expect(message.parts[3].isMessage)
    #expect(message.parts[4].header.first("subject")?.display() == "two")
  }

  @Test(
    arguments: [
      (
        "no end", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo", ["one", "two"],
        .notClosed
      ),
      ("bare LF", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n", ["one"], []),
      (
        "an outer delimiter ends the inner one",
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--o\r\n\r\ntwo\r\n--o--",
        ["one", "two"], .notClosed
      ),
      (
        "the same boundary within",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n",
        ["one", "two"], []
      ),
      (
        "one boundary begins with the other",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n--b\n\ntwo\n--b--",
        ["one", "two"], []
      ),
      (
        "space behind delimiters",
        "Content-Type: multipart/mixed; boundary=\"b \"\r\n\r\n--b \t\r\n\r\none\r\n--b-- \r\n", ["one"], []
      ),
      ("no boundary", "Content-Type: multipart/mixed\r\n\r\ntext", ["text"], .noBoundary),
      (
        "a boundary that never comes", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--y\r\n\r\ntext",
        ["--y\r\n\r\ntext"], [.noParts, .notClosed]
      ),
      (
        "nothing behind the end",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--", ["one"],
        []
      ),
      (
        "empty parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n--b\r\nA: b\r\n--b--",
        ["", "", ""], []
      ),
      ("no type", "Content-Type: nothing\r\n\r\ntext", ["text"], .badContentType),
      ("no encoding", "Content-Transfer-Encoding: rot13\r\n\r\ntext", ["text"], .unknownEncoding),
      (
        "an encoded message", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogYg==",
        ["A: b"], .encodedComposite
      ),
      (
        "a colon in a boundary",
        "Content-Type: multipart/mixed; boundary=\"a:b\"\r\n\r\n--a:b\r\nX: y\r\n--a:b\r\n\r\ntwo\r\n--a:b--",
        ["", "two"], []
      ),
      ("NUL", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\na\u{0}b\r\n--b--", ["a\u{0}b"], []),
      ("nothing", "", [""], []),
    ] as [(String, String, [String], MIMEMessage.Defects)])
  func toleratesWhatIsBroken(_ what: String, _ text: String, _ bodies: [String], _ defects: MIMEMessage.Defects) {
    let message = read(text)
    #expect(message.parts.filter { !$0.isContainer }.map { $0.content().text } == bodies)
    #expect(message.defects == defects)
  }

  @Test func anOuterDelimiterRightBehindAnInnerOne() {
    let message = MIMEMessage(
      Bytes(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
          + "--bb\r\n--b\r\n\r\nx\r\n--b--\r\n"))
    #expect(message.parts.map(\.number) == ["", "1", "1.1", "2"])
    for part in message.parts.dropFirst() {
      let holder = message.parent(of: part)
      #expect(holder.map { $0.bodyRange.upperBound >= part.range.upperBound } == true, "\(part.number)")
    }
  }

  @Test func boundsWhatIsRead() {
    var nested = ""
    for level in 0..<10_000 { nested += "Content-Type: multipart/mixed; boundary=b\(level)\r\n\r\n--b\(level)\r\n" }
    let deep = read(nested)
    #expect(deep.parts.count == 51)
    #expect(deep.defects.contains(.tooDeep))
    let messages = read(String(repeating: "Content-Type: message/rfc822\r\n\r\n", count: 10_000) + "\r\nend")
    #expect(messages.parts.count == 51)
    #expect(messages.parts.last?.body.count ?? 0 > 300_000)
    let many = read(
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + String(repeating: "--b\r\n\r\nx\r\n", count: 20_000))
    #expect(many.parts.count == 1000)
    #expect(many.defects.contains(.tooManyParts))
    #expect(many.parts.last?.content().text == "x")
    let few = MIMEMessage(many.bytes, limits: .init(depth: 1, parts: 3))
    #expect(few.parts.map(\.number) == ["", "1", "2"])
  }

  @Test(
    arguments: [
      ("text/plain", "text/plain", []),
      ("TEXT/HTML; Charset=UTF-8", "text/html", ["charset=UTF-8"]),
      ("text/plain; charset=us-ascii (Plain text)", "text/plain", ["charset=us-ascii"]),
      ("text/plain; charset=\"us-ascii\"", "text/plain", ["charset=us-ascii"]),
      (
        "message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
        "message/external-body",
        ["access-type=URL", "url=ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"]
      ),
      (
        "application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "application/x-stuff",
        ["title=This is ***fun***"]
      ),
      (
        "application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
        "application/x-stuff", ["title=This is even more ***fun*** isn't it!"]
      ),
      ("a/b; n*1=b; n*0=a; n*2=c", "a/b", ["n=abc"]),
      ("a/b; name=plain; name*=utf-8''%C3%BC", "a/b", ["name=ü"]),
      ("a/b; name*=utf-8''%EC%95%88; name=x", "a/b", ["name=안"]),
      ("a/b; name=\"=?utf-8?b?7JWI?=.pdf\"", "a/b", ["name=안.pdf"]),
      ("a/b; name==?utf-8?q?=C3=BC?=", "a/b", ["name=ü"]),
      ("a/b; name=ü.txt", "a/b", ["name=ü.txt"]),
      ("a/b; name=two words.txt; x=1", "a/b", ["name=two words.txt", "x=1"]),
      ("a/b; name=\"C:\\temp\\x;y.txt\"; x", "a/b", ["name=C:\\temp\\x;y.txt"]),
      ("a/b; name=\"a\\\"b\"", "a/b", ["name=a\"b"]),
      ("a/b; name=\"open", "a/b", ["name=open"]),
      ("a/b;;; x=1;x=2;", "a/b", ["x=1"]),
      ("a/b charset=x", "a/b", ["charset=x"]),
      ("a / b ; x = 1", "a/b", ["x=1"]),
      ("\"a/b\"; =x; y=", "a/b", ["y="]),
      ("a/b;\r\n\tx=1;\r\n y=2", "a/b", ["x=1", "y=2"]),
      ("(a (nested\\) comment)) a/b", "a/b", []),
      ("a/b; n*99999999999999999999=x", "a/b", ["n*99999999999999999999=x"]),
      ("", "text/plain", []),
    ] as [(String, String, [String])])
  func readsParameters(_ value: String, _ type: String, _ parameters: [String]) {
    let part = read("Content-Type: \(value)\r\n\r\n").parts.first
    #expect(part?.type.value == type)
    #expect(part?.type.parameters.map { "\($0.name)=\($0.value)" } == parameters)
  }

  @Test(
    arguments: [
      ("attachment; filename=a.pdf", "a.pdf"), ("attachment; filename=\"../../etc/passwd\"", "passwd"),
      ("attachment; filename=\"C:\\x\\y.doc\"", "y.doc"), ("attachment; filename=\"..\"", nil),
      ("attachment; filename=\"  \"", nil), ("attachment; filename=\"a\u{1}b\u{202E}c\"", "a b c"),
      ("attachment", "typed"),
      ("attachment; filename=\"/\"", nil), ("attachment; filename*0=\"a\"; filename*1=\".txt\"", "a.txt"),
      ("attachment; filename=\"\(String(repeating: "é", count: 200))\"", String(repeating: "é", count: 127)),
    ] as [(String, String?)])
  func cleansFileNames(_ disposition: String, _ name: String?) {
    let message = read("Content-Type: a/b; name=typed\r\nContent-Disposition: \(disposition)\r\n\r\n")
    #expect(message.parts.first?.fileName == name)
  }
}

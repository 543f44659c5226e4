import Mail
import Pipeline
import Testing

@Suite struct TextTests {
  private func html(_ text: String) -> String {
    MIMEMessage(Bytes("Content-Type: text/html; charset=utf-8\r\n\r\n\(text)")).text()
  }

  @Test(
    arguments: [
      ("<p>One</p><p>Two<br>Three</p>", "One\nTwo\nThree"),
      ("<ul><li>a<li>b</ul>c", "a\nb\nc"),
      ("<table><tr><td>a<td>b</tr><tr><td>c</table>", "a b\nc"),
      ("a  \n b<b>c</b>", "a bc"), ("<pre>a\n  b</pre> c", "a\nb\nc"),
      ("<head><title>T</title><style>p>a{}</style><script>if (a<b) '</p>'</script></head>x", "x"),
      ("<SCRIPT>x</SCRIPT >y", "y"), ("<a title=\"x>y\" href='a>b'>z</a>", "z"),
      ("<!-- a <b> --x>y-->z<!-->w<!doctype html><?xml?>v", "zwv"), ("<![if !mso]>x<![endif]>", "x"),
      ("&lt;b&gt; &eacute;&Eacute &amp;amp; &euro;&hearts;&nbsp;&#x41;&#66 &#150;", "<b> éÉ &amp; €♥ AB –"),
      ("&bogus; &; &# &#x; &not; &lt x", "&bogus; &; &# &#x; ¬ < x"),
      ("a<div style=\"Display : NONE\">hidden<div>too</div>still</div>b", "ab"),
      ("<p style='display:none'>hidden<p>shown", "shown"), ("<span hidden>no</span>yes", "yes"),
      ("<div style='display:none'>everything", "everything"), ("<input hidden>x", "x"),
      ("3 < 4 <5> </ x", "3 < 4 <5>"), ("<", "<"), ("<p", ""), ("</", "</"), ("", ""),
    ])
  func readsHTML(_ source: String, _ text: String) { #expect(html(source) == text) }

  @Test(arguments: [
    "<div>", "<", "<!--", "<a b=\"", "&", "&#", "<style>", "</p>", "<!", "<a ", "&amp", "-->", "<script></", "\"",
  ])
  func hostileHTMLTakesLinearTime(_ piece: String) {
    let text = html(String(repeating: piece, count: 200_000))
    #expect(text.utf8.count <= 2_000_000)
  }

  private func multipart(_ type: String, _ parts: [String]) -> String {
    "Content-Type: multipart/\(type); boundary=\"=\(type)\"\r\n\r\n"
      + parts.map { "--=\(type)\r\n\($0)\r\n" }.joined() + "--=\(type)--"
  }
  private let plain = "Content-Type: text/plain; charset=utf-8\r\n\r\nplain ü"
  private let page = "Content-Type: text/html\r\n\r\n<p>page</p>"
  private let image =
    "Content-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Disposition: inline; filename=i.png\r\n\r\npng"
  private let file = "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=f.pdf\r\n\r\npdf"
  private let signature = "Content-Type: application/pgp-signature; name=s.asc\r\n\r\nsig"

  @Test func choosesTheText() {
    func text(_ source: String) -> String { MIMEMessage(Bytes(source)).text() }
    #expect(text(multipart("alternative", [plain, page])) == "plain ü")
    #expect(text(multipart("alternative", [page, plain])) == "plain ü")
    #expect(text(multipart("alternative", ["\r\n \r\n", page])) == "page")
    #expect(text(multipart("alternative", [page, image])) == "page")
    #expect(
      text(multipart("mixed", [multipart("alternative", [plain, multipart("related", [page, image])]), file]))
        == "plain ü")
    #expect(text(multipart("related", [page, image])) == "page")
    #expect(text(multipart("mixed", [plain, file, page])) == "plain ü\npage")
    #expect(text(multipart("mixed", [plain, "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\ninner"])) == "plain ü")
    #expect(text(multipart("mixed", ["Content-Disposition: attachment\r\n\r\nfile", plain])) == "plain ü")
    #expect(text("A: b\r\n\r\none\r\ntwo") == "one\ntwo")
    #expect(text("") == "")
  }

  @Test func findsAttachments() {
    func names(_ source: String) -> [String] {
      let message = MIMEMessage(Bytes(source))
      #expect(message.hasAttachment == !message.attachments.isEmpty)
      return message.attachments.map { $0.fileName ?? $0.type.value }
    }
    #expect(names(multipart("mixed", [plain, file])) == ["f.pdf"])
    #expect(names(multipart("related", [page, image])) == [])
    #expect(names(multipart("mixed", [page, image])) == ["i.png"])
    #expect(names(multipart("signed", [plain, signature])) == [])
    #expect(names(multipart("signed", [multipart("mixed", [plain, file]), signature])) == ["f.pdf"])
    #expect(names(file) == ["f.pdf"])
    #expect(names(multipart("mixed", [plain, "Content-Type: message/rfc822\r\n\r\n\(file)"])) == ["message/rfc822"])
    #expect(names(multipart("mixed", [plain, "Content-Type: text/x-patch; name=a.patch\r\n\r\nx"])) == ["a.patch"])
    #expect(
      names(
        multipart(
          "report", [plain, "Content-Type: message/delivery-status\r\n\r\nx", "Content-Type: message/rfc822\r\n\r\nx"]))
        == [])
    #expect(names(plain) == [])
  }

  @Test(
    arguments: [
      ("charset=windows-1252", [0x80, 0xE9], "€é"), ("charset=iso-8859-1", [0x93], "“"),
      ("charset=us-ascii", [0xC3, 0xBC], "ü"), ("charset=us-ascii", [0xFC], "ü"), ("x=y", [0xFC], "ü"),
      ("charset=x-unheard-of", [0x61, 0xFC], "aü"), ("charset=default", [0xFC], "ü"), ("charset=\"\"", [0xFC], "ü"),
      ("charset=gb2312", [0xC8, 0xAB, 0x81, 0x40], "全丂"), ("charset=ks_c_5601-1987", [0xBE, 0xC8, 0xB3, 0xE7], "안녕"),
      ("charset=utf-7", Array("Hi +AOk-".utf8), "Hi é"), ("charset=koi8-r", [0xC1], "а"),
      ("charset=CP1251", [0xE0], "а"),
      ("charset=iso-2022-jp", [0x1B, 0x24, 0x42, 0x46, 0x7C, 0x1B, 0x28, 0x42], "日"),
      ("charset=shift_jis", [0x93, 0xFA], "日"),
      ("charset=big5", [0xA4, 0xE9], "日"), ("charset=utf-16", [0xFF, 0xFE, 0x41, 0], "A"),
      ("charset=utf-16be", [0, 0x41], "A"),
      ("charset=utf-8", [0x61, 0xFF, 0x62], "a\u{FFFD}b"), ("charset=euc-jp", [0xC6, 0xFC, 0xC6], "日\u{FFFD}"),
      ("charset=iso-8859-15", [0xA4], "€"), ("charset=utf-8", [0xEF, 0xBB, 0xBF, 0x61], "a"),
      ("charset=utf-8//IGNORE", [0x61], "a"), ("charset=../../x", [0x61], "a"), ("charset=tis-620", [0xA1], "ก"),
    ] as [(String, [UInt8], String)])
  func readsCharsets(_ parameter: String, _ bytes: [UInt8], _ text: String) {
    let message = Array("Content-Type: text/plain; \(parameter)\r\n\r\n".utf8) + bytes
    #expect(MIMEMessage(Bytes(message)).text() == text)
  }

  @Test func readsTheCharsetOfAPage() {
    let page = Array("Content-Type: text/html\r\n\r\n<meta content=\"text/html; charset=koi8-r\">".utf8) + [0xC1]
    #expect(MIMEMessage(Bytes(page)).text() == "а")
  }

  @Test func previewsWhatSendersHide() {
    let style = "<style>\(String(repeating: "a{b:c}", count: 3000))</style>"
    let filler = String(repeating: "&zwnj;&nbsp;&#847; ", count: 50)
    let page = "<div style='display:none'>Look &amp; see\(filler)</div><p>Dear customer,</p>"
    let message = MIMEMessage(Bytes("Content-Type: text/html\r\n\r\n\(style)\(page)"))
    #expect(message.preview(30) == "Look & see Dear customer,")
    #expect(message.text() == "Dear customer,")
    #expect(MIMEMessage(Bytes("Content-Type: text/plain; charset=utf-8\r\n\r\nنمی‌خواهم")).preview() == "نمی‌خواهم")
  }
}

import MIMEFuzz
import Testing

/// Everything that reads mail, on damaged mail: whatever comes, it ends, within bounds and without a trap.
@Suite struct FuzzTests {
  /// xorshift64*: a seed repeats a run.
  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state >> 12
      state ^= state << 25
      state ^= state >> 27
      return state &* 0x2545_F491_4F6C_DD1D
    }
  }

  private static let seeds = [
    "From: =?utf-8?q?J=C3=BCrgen?= =?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <j@x>\r\nTo: a@b,\r\n c@d\r\nSubject: Hi\r\n"
      + "Date: Tue, 24 Nov 2026 09:30:00 +0100 (CET)\r\nMessage-ID: <1@x>\r\nReceived: x\r\n\r\nHello\r\n",
    "Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\n--a b\r\nContent-Type: text/html; charset=euc-kr\r\n"
      + "Content-Transfer-Encoding: base64\r\n\r\nPHA+vsiz5ybuYnNwOzwvcD4=\r\n--a b\r\nContent-Type: multipart/x;\r\n"
      + " boundary=i\r\n\r\n--i\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=\r\n=C3=9F&#x41;\r\n--i--\r\n"
      + "--a b\r\nContent-Disposition: attachment; filename=\"x\\\"y.pdf\"\r\n\r\n%PDF\r\n--a b--\r\n",
    "Content-Type: text/html\r\n\r\n<html><style>a{}</style><!-- x --><p>a&amp;b&#65;<b>c</b><script>d</script>",
  ]
  private static let pieces: [[UInt8]] =
    [
      "\r\n", "\r\n\r\n", "\n", "\r", " ", "\t", ":", "=?", "?=", "=", "--", "--a b", "--i--", "\"", "\\", ";", "<",
      ">", "&",
      "&#", "<!--", "</style", "(", ")", "charset=utf-16", "charset=utf-7", "charset=hz-gb-2312",
      "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n",
    ].map { Array($0.utf8) } + [[0], [0x80], [0xFF, 0xFE], [0x1B, 0x24, 0x42], [0xED, 0xA0, 0x80]]

  private static func damaged(_ seed: [UInt8], _ generator: inout Generator) -> [UInt8] {
    var bytes = seed
    for _ in 0..<Int.random(in: 1...12, using: &generator) {
      let at = Int.random(in: 0...bytes.count, using: &generator)
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes.insert(contentsOf: pieces.randomElement(using: &generator) ?? [], at: at)
      case 1: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 0...20, using: &generator)))
      case 2: if at < bytes.count { bytes[at] = UInt8.random(in: 0...255, using: &generator) }
      default: bytes.insert(contentsOf: bytes[..<at].suffix(40), at: at)
      }
    }
    return bytes
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>) func damagedMailIsRead(_ seed: UInt64) {
    var generator = Generator(state: seed &* 0x9E37_79B9_7F4A_7C15)
    for round in 0..<400 {
      let bytes = Self.damaged(Array(Self.seeds[round % Self.seeds.count].utf8), &generator)
      guard let rule = MIMEFuzz.brokenRule(bytes) else { continue }
      Issue.record("\(rule): seed \(seed), round \(round): \(bytes)")
      return
    }
  }
}

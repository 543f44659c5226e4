import Mail
import Pipeline
import Testing

@Suite struct TransferTests {
  @Test(
    arguments: [
      (.base64, "SGVsbG8=", "Hello"), (.base64, "SGVs\r\nbG8=\r\n", "Hello"), (.base64, "SGVsbG8", "Hello"),
      (.base64, "SGVs bG8h!", "Hello!"), (.base64, "SGVsbG8=\r\n-- \r\nlist footer", "Hello"), (.base64, "=SGk=", "Hi"),
      (.base64, "", ""), (.base64, "=", ""), (.base64, "S", ""), (.base64, "####", ""),
      (.quotedPrintable, "a=3Db=3d", "a=b="), (.quotedPrintable, "soft=\r\n break", "soft break"),
      (.quotedPrintable, "soft= \t\r\n break", "soft break"), (.quotedPrintable, "soft=\nbreak", "softbreak"),
      (.quotedPrintable, "trailing  \t\r\nspace =20\r\n", "trailing\r\nspace  \r\n"),
      (.quotedPrintable, "=ZZ =", "=ZZ "),
      (.quotedPrintable, "=4", "=4"), (.quotedPrintable, "=", ""), (.quotedPrintable, "a\r\n\r\nb", "a\r\n\r\nb"),
      (.quotedPrintable, "=\r\n=\r\n=41", "A"), (.quotedPrintable, "_", "_"), (.quotedPrintable, "a  ", "a"),
      (.uuencode, "begin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\n", "Cat"), (.uuencode, "begin 644 x\n_\nend", ""),
      (.uuencode, "no begin", ""), (.identity, "as=20it is\r\n", "as=20it is\r\n"),
    ] as [(TransferEncoding, String, String)])
  func decodes(_ encoding: TransferEncoding, _ text: String, _ decoded: String) {
    let source = Bytes(text)
    #expect(TransferDecoder.decode(encoding, source).text == decoded)
    #expect(TransferDecoder(encoding, source).remaining() == decoded.utf8.count)
    guard encoding != .uuencode else { return }
    for size in 1...5 {
      var decoder = TransferDecoder(encoding, source)
      var pieces: [UInt8] = []
      while true {
        let piece = decoder.next(size)
        #expect(piece.count <= size)
        if piece.isEmpty { break }
        pieces += piece
      }
      #expect(String(decoding: pieces, as: UTF8.self) == decoded)
    }
  }

  @Test func givesRanges() {
    let bytes = Array((0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
    let message = Bytes("Content-Transfer-Encoding: base64\r\n\r\n" + base64(bytes))
    guard let part = MIMEMessage(message).parts.first else { return }
    #expect(part.size == bytes.count)
    #expect(part.content(0..<3) == Bytes(bytes[0..<3]))
    #expect(part.content(100_000..<150_001) == Bytes(bytes[100_000..<150_001]))
    #expect(part.content(199_999..<300_000) == Bytes(bytes[199_999...]))
    #expect(part.content(200_000..<300_000).isEmpty)
    #expect(part.content(limit: 10) == Bytes(bytes[..<10]))
    let plain = MIMEMessage(Bytes("A: b\r\n\r\nhello")).parts.first
    #expect(plain?.content(1..<3).text == "el")
    #expect(plain?.content(4..<99).text == "o")
    #expect(plain?.content(9..<99).isEmpty == true)
  }

  private func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var output: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let value = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
      for shift in [18, 12, 6, 0].prefix(group.count + 1) { output.append(alphabet[value >> shift & 63]) }
      output += Array(repeating: UInt8(ascii: "="), count: 3 - group.count)
      if output.count % 76 == 0 { output += [13, 10] }
    }
    return String(decoding: output, as: UTF8.self)
  }
}

import SMTPGateway
import Testing

@Suite struct DataReaderTests {
  private struct Read: Equatable {
    var content: [UInt8]
    var rest: [UInt8]
    var defect: SMTPDataReader.Defect?
    var isComplete: Bool
  }

  private func read(_ pieces: [ArraySlice<UInt8>], limit: Int = 1_000_000) -> Read {
    var reader = SMTPDataReader(limit: limit)
    var rest: [UInt8] = []
    for piece in pieces {
      let bytes = Array(piece)
      let consumed = bytes.withUnsafeBytes { reader.read($0) }
      #expect(reader.isComplete || consumed == bytes.count)
      rest += bytes[consumed...]
    }
    return Read(content: reader.content, rest: rest, defect: reader.defect, isComplete: reader.isComplete)
  }

  /// The same in one piece, byte by byte, and cut in two at every place.
  private func readEveryWay(_ text: String, limit: Int = 1_000_000) -> Read {
    let bytes = Array(text.utf8)
    let whole = read([bytes[...]], limit: limit)
    #expect(read(bytes.indices.map { bytes[$0...$0] }, limit: limit) == whole, "\(text.debugDescription) drips")
    for cut in bytes.indices {
      #expect(read([bytes[..<cut], bytes[cut...]], limit: limit) == whole, "\(text.debugDescription) cut at \(cut)")
    }
    return whole
  }

  @Test(arguments: [
    (".\r\n", ""), ("a\r\n.\r\n", "a\r\n"), ("\r\n.\r\n", "\r\n"), ("..\r\n.\r\n", ".\r\n"), (".a\r\n.\r\n", "a\r\n"),
    ("...\r\n.\r\n", "..\r\n"), ("a.\r\n.\r\n", "a.\r\n"), ("a\r\n..b\r\n.c\r\nd.\r\n.\r\n", "a\r\n.b\r\nc\r\nd.\r\n"),
    ("a\0b\u{80}\r\n.\r\n", "a\0b\u{80}\r\n"), (". \r\n.\r\n", " \r\n"), ("\r\n\r\n\r\n.\r\n", "\r\n\r\n\r\n"),
  ])
  func unstuffs(_ sent: String, _ content: String) {
    let expected = Read(content: Array(content.utf8), rest: Array("QUIT".utf8), defect: nil, isComplete: true)
    #expect(readEveryWay(sent + "QUIT") == expected)
  }

  /// Every mix of CR, LF, dot and a letter up to seven long: only CR LF . CR LF (or . CR LF first) ends a message.
  @Test func nothingElseEndsAMessage() {
    let alphabet: [UInt8] = [13, 10, 46, 97]
    for length in 1...7 {
      for code in 0..<(1 << (2 * length)) {
        let bytes = (0..<length).map { alphabet[code >> (2 * $0) & 3] }
        let ended = read([bytes[...]])
        // The definition, in the plainest words: the first CRLF.CRLF, the DATA command's own CRLF counted.
        let all: [UInt8] = [13, 10] + bytes
        let end = all.indices.first { all[$0...].starts(with: [13, 10, 46, 13, 10]) }
        #expect(ended.isComplete == (end != nil), "\(bytes)")
        guard let end else { continue }
        #expect(ended.rest == Array(all[(end + 5)...]), "\(bytes)")
        let text = Array(all[2..<max(2, end + 2)])
        let bare = text.indices.contains { index in
          text[index] == 13 && (index + 1 == text.count || text[index + 1] != 10)
            || text[index] == 10 && (index == 0 || text[index - 1] != 13)
        }
        #expect((ended.defect == .bareLineEnding) == bare, "\(bytes)")
      }
    }
  }

  @Test(arguments: [
    "a\n.\n", "a\r.\r", "a\n.\r\n", "a\r\n.\n", "a\r\n.\r", "a\r.\r\n", "a\r\n\r.\r\n", "a\n\n.\n\n", "a\r\n.\r\r\n",
    "a\r\n.\0\r\n", "a\r\r\n.\r.\r\n",
  ])
  func smugglingIsReadOnAndRefused(_ sent: String) {
    let hidden = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nhidden\r\n"
    let all = readEveryWay(sent + hidden + ".\r\nNOOP")
    #expect(all.isComplete)
    #expect(String(decoding: all.rest, as: UTF8.self) == "NOOP")
    #expect(all.defect == (sent.contains("\0") ? nil : .bareLineEnding))
    if all.defect != nil { #expect(all.content.isEmpty) }
  }

  @Test func sizeIsLimited() {
    #expect(readEveryWay("12345678\r\n.\r\n", limit: 10).defect == nil)
    let beyond = readEveryWay("123456789\r\nmore\r\n.\r\nNOOP", limit: 10)
    #expect(beyond.defect == .tooLarge)
    #expect(beyond.content.isEmpty)
    #expect(beyond.rest == Array("NOOP".utf8))
    // A stuffed dot is not part of the message.
    #expect(readEveryWay("..345678\r\n\r\n.\r\n", limit: 11).defect == nil)
    #expect(readEveryWay("too large\r\nand\nbare\r\n.\r\n", limit: 3).defect == .bareLineEnding)
  }

  @Test func linesAreLimited() {
    let limit = SMTPDataReader.maximumLineLength
    let longest = [UInt8](repeating: 120, count: limit)
    let end = Array("\r\n.\r\n".utf8)
    for cut in [1, limit - 1, limit, limit + 1, limit + 2] {
      let good = longest + end
      #expect(read([good[..<cut], good[cut...]]).defect == nil)
      #expect(read([([46] + good)[..<cut], ([46] + good)[cut...]]).defect == nil)
      let bad = [120] + good
      #expect(read([bad[..<cut], bad[cut...]]).defect == .lineTooLong)
      #expect(read([bad[..<cut], bad[cut...]]).isComplete)
    }
  }

  @Test func memoryStaysWithinTheLimit() {
    var reader = SMTPDataReader(limit: 100_000)
    let block = Array((String(repeating: "x", count: 998) + "\r\n").utf8)
    for _ in 0..<1000 {
      _ = block.withUnsafeBytes { reader.read($0) }
      #expect(reader.content.count <= 100_000)
    }
    #expect(reader.size == 1_000_000)
    #expect(reader.defect == .tooLarge)
    #expect(reader.content.capacity == 0)
  }
}

import Foundation
import SMTPGateway
import Testing

/// Every mix of CR, LF, dot and a letter up to a length, against an oracle in the plainest words. TORTURE=1 tries longer ones.
@Suite struct SmugglingTests {
  private static let isLong = ProcessInfo.processInfo.environment["TORTURE"].map { !["", "0"].contains($0) } ?? false
  private static let alphabet: [UInt8] = [13, 10, 46, 120]

  /// Calls `body` with every mix of up to `length` bytes.
  private func forEveryMix(upTo length: Int, _ body: ([UInt8]) -> Void) {
    for length in 0...length {
      for code in 0..<(1 << (2 * length)) { body((0..<length).map { Self.alphabet[code >> (2 * $0) & 3] }) }
    }
  }

  /// Where the first CRLF.CRLF of what follows DATA ends, the CRLF of the DATA command itself counted; nil: nowhere.
  private func end(_ bytes: [UInt8]) -> Int? {
    let all = [13, 10] + bytes
    return all.indices.first { all[$0...].starts(with: [13, 10, 46, 13, 10]) }.map { $0 + 3 }
  }

  private func hasBareLineEnd(_ text: [UInt8]) -> Bool {
    // Taken in pairs, nothing of a CR or LF may be left.
    let text = String(decoding: text, as: UTF8.self).replacingOccurrences(of: "\r\n", with: "")
    return text.unicodeScalars.contains { $0 == "\r" || $0 == "\n" }
  }

  /// A message without the dots that were put in: line by line.
  private func unstuffed(_ text: [UInt8]) -> [UInt8] {
    let lines = String(decoding: text, as: UTF8.self).components(separatedBy: "\r\n")
    return Array(lines.map { $0.hasPrefix(".") ? String($0.dropFirst()) : $0 }.joined(separator: "\r\n").utf8)
  }

  @Test func inData() {
    var accepted = 0
    forEveryMix(upTo: Self.isLong ? 8 : 5) { mix in
      // What stands behind the message is taken for commands, and only that.
      let sent = mix + Array("\r\n.\r\nNOOP\r\n".utf8)
      var talk = Conversation()
      talk.announce()
      talk.send(sent)
      guard let end = end(sent) else { return }
      // The text of the message: what stands before its end, the line end in front of the dot with it.
      let text = Array(sent[..<max(0, end - 3)])
      let isBroken = hasBareLineEnd(text)
      let rest = Array(sent[end...])
      var expected = [220, 250, 250, 250, 354, isBroken ? 550 : 250]
      expected += afterwards(rest)
      let mails = isBroken ? [] : [unstuffed(text)]
      if talk.codes != expected || talk.mails.map(\.content) != mails {
        Issue.record("\(mix): \(talk.codes), expected \(expected); \(talk.mails.map(\.content)), expected \(mails)")
      }
      accepted += talk.mails.count
      // Byte by byte it is the same.
      var dripping = Conversation()
      dripping.announce()
      for byte in sent { dripping.send([byte]) }
      if dripping.replies != talk.replies || dripping.mails.map(\.content) != talk.mails.map(\.content) {
        Issue.record("\(mix) drips otherwise")
      }
    }
    #expect(accepted > 100)
  }

  /// The codes that are answered to `rest` as commands: each line that ends with CR LF is one, a bare LF or CR breaks it.
  private func afterwards(_ rest: [UInt8]) -> [Int] {
    var codes: [Int] = []
    var line: [UInt8] = []
    var isBroken = false
    var brokenLines = 0
    for byte in rest {
      if byte == 10, line.last == 13 {
        line.removeLast()
        if !isBroken {
          if line.contains(13) { brokenLines += 1 }
          codes.append(line == Array("NOOP".utf8) ? 250 : 500)
        }
        (line, isBroken) = ([], false)
      } else if byte == 10 {
        // Each is answered at once; what follows up to the next CR LF is thrown away.
        codes.append(500)
        brokenLines += 1
        (line, isBroken) = ([], true)
      } else {
        line.append(byte)
        continue
      }
      if brokenLines == 3 { return codes + [421] }
    }
    return codes
  }

  /// By BDAT every octet counts, and none ends anything; a bare CR or LF is refused all the same.
  @Test func inChunks() {
    var accepted = 0
    forEveryMix(upTo: Self.isLong ? 8 : 5) { mix in
      for cut in Set([mix.count, mix.count / 2]) {
        var talk = Conversation()
        talk.greet()
        talk.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n")
        if cut < mix.count {
          talk.send(Array("BDAT \(cut)\r\n".utf8) + mix[..<cut])
          talk.send(Array("BDAT \(mix.count - cut) LAST\r\n".utf8) + mix[cut...] + Array("NOOP\r\n".utf8))
        } else {
          talk.send(Array("BDAT \(mix.count) LAST\r\n".utf8) + mix + Array("NOOP\r\n".utf8))
        }
        let isBroken = hasBareLineEnd(mix)
        let mails = isBroken ? [] : [mix]
        if talk.mails.map(\.content) != mails || talk.codes.last != 250 {
          Issue.record("\(mix) cut at \(cut): \(talk.codes), \(talk.mails.map(\.content))")
        }
        accepted += talk.mails.count
      }
    }
    #expect(accepted > 100)
  }
}

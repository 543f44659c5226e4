import Pipeline

/// Text of header fields for a person: encoded words (RFC 2047) and raw 8-bit bytes.
public enum HeaderText {
  /// Decodes encoded words; those in a charset that the system does not know stay as they are written.
  ///
  /// Space between two encoded words is dropped (RFC 2047 section 6.2), and a character whose bytes were split between
  /// two words of one charset is put together, since many programs split there although they must not.
  public static func decode(_ bytes: some Collection<UInt8>) -> String {
    let bytes = Array(bytes)
    // Nearly all text is ASCII that means itself.
    if bytes.allSatisfy({ (32...126).contains($0) && $0 != UInt8(ascii: "=") }) {
      return String(decoding: bytes, as: UTF8.self)
    }
    var output = ""
    var charset: Charset?
    var pending: [UInt8] = []
    func flush() {
      if let charset { output += charset.text(pending) }
      charset = nil
      pending = []
    }
    var at = 0
    var plainStart = 0
    while at < bytes.count {
      guard bytes[at] == UInt8(ascii: "="), let word = EncodedWord(bytes[at...]) else {
        at += 1
        continue
      }
      let between = bytes[plainStart..<at]
      if charset == nil || !between.allSatisfy({ $0 == 32 || (9...13).contains($0) }) {
        flush()
        output += plain(between)
      }
      if charset != word.charset { flush() }
      charset = word.charset
      pending += word.decoded
      at = word.end
      plainStart = at
    }
    flush()
    output += plain(bytes[plainStart...])
    return sanitized(output)
  }

  /// UTF-8 if it is that (RFC 6532), else Windows-1252, which is what such mail mostly meant.
  static func plain(_ bytes: some Collection<UInt8>) -> String { Charset.ascii.text(bytes) }

  /// Control characters become spaces: nothing that reaches a screen or a JSON document may carry them.
  static func sanitized(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var scalars = String.UnicodeScalarView()
    for scalar in text.unicodeScalars { scalars.append(isControl(scalar) ? " " : scalar) }
    return String(scalars)
  }

  static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    // Beside C0 and C1, the marks that reverse the direction of writing: with them a name can be made to look like
    // another address (Unicode TR 36, section 2.5).
    case 0..<32, 127..<160, 0x202A...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}

/// `=?charset?encoding?text?=` (RFC 2047 section 2).
private struct EncodedWord {
  let charset: Charset
  let decoded: [UInt8]
  /// The index behind it.
  let end: Int

  /// Reads the word at the start of `bytes`; nil if there is none, or one that cannot be decoded.
  init?(_ bytes: ArraySlice<UInt8>) {
    // 75 by the standard; programs write longer ones.
    let window = bytes.prefix(2048)
    guard window.starts(with: "=?".utf8) else { return nil }
    var marks: [Int] = []
    var at = window.startIndex + 2
    while at < window.endIndex, marks.count < 2 {
      if window[at] == UInt8(ascii: "?") { marks.append(at) }
      if window[at] <= 32 { return nil }
      at += 1
    }
    guard marks.count == 2, marks[1] == marks[0] + 2 else { return nil }
    let textStart = at
    while at + 1 < window.endIndex, !(window[at] == UInt8(ascii: "?") && window[at + 1] == UInt8(ascii: "=")) {
      at += 1
    }
    guard at + 1 < window.endIndex else { return nil }
    let text = window[textStart..<at]
    // A language may follow the charset (RFC 2231 section 5).
    let name = window[(window.startIndex + 2)..<marks[0]].prefix { $0 != UInt8(ascii: "*") }
    guard let charset = Charset(String(decoding: name, as: UTF8.self)) else { return nil }
    switch window[marks[0] + 1] | 0x20 {
    case UInt8(ascii: "q"): decoded = TransferCoding.decodeQ(text)
    case UInt8(ascii: "b"): decoded = Array(TransferDecoder.decode(.base64, Bytes(text)))
    default: return nil
    }
    self.charset = charset
    end = at + 2
  }
}

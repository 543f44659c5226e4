/// The text of the beginning of an HTML document, for a list. Not a parser, and nothing that may be shown as HTML.
enum HTMLSketch {
  /// What stands outside of tags, comments, style and script, with the commonest entities decoded.
  static func text(_ html: String) -> String {
    let bytes = Array(html.utf8)
    var output: [UInt8] = []
    var at = 0
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "<"):
        at = afterTag(bytes, at)
        // A tag ends a word: two cells of a table are two words. Of a word in which one letter is bold, so be it.
        output.append(32)
      case UInt8(ascii: "&"):
        let (text, next) = entity(bytes, at)
        output.append(contentsOf: text.utf8)
        at = next
      default:
        output.append(bytes[at])
        at += 1
      }
    }
    return String(decoding: output, as: UTF8.self)
  }

  private static func afterTag(_ bytes: [UInt8], _ start: Int) -> Int {
    if starts(bytes, start, with: "<!--") { return after("-->", bytes, start + 4) }
    for name in ["style", "script", "title"] where starts(bytes, start, with: "<" + name) {
      let end = after("</" + name, bytes, start)
      return end < bytes.count ? after(">", bytes, end) : end
    }
    guard start + 1 < bytes.count else { return bytes.count }
    // `<` that begins no tag is a `<`, which a list can do without.
    let next = bytes[start + 1] | 0x20
    guard (97...122).contains(next) || "/!?".utf8.contains(bytes[start + 1]) else { return start + 1 }
    return after(">", bytes, start)
  }

  /// The index behind the next occurrence of `mark`, in any case; the end if there is none.
  private static func after(_ mark: String, _ bytes: [UInt8], _ start: Int) -> Int {
    var at = start
    while at < bytes.count {
      if starts(bytes, at, with: mark) { return at + mark.utf8.count }
      at += 1
    }
    return bytes.count
  }

  private static func starts(_ bytes: [UInt8], _ at: Int, with mark: String) -> Bool {
    guard bytes.count - at >= mark.utf8.count else { return false }
    for (offset, byte) in mark.utf8.enumerated() {
      let found = bytes[at + offset]
      let lower = (65...90).contains(found) ? found | 0x20 : found
      guard lower == byte else { return false }
    }
    return true
  }

  private static let named: [String: String] = [
    "amp": "&", "lt": "<", "gt": ">", "quot": "\"", "apos": "'", "nbsp": " ", "zwnj": "", "shy": "", "ndash": "–",
    "mdash": "—", "hellip": "…", "rsquo": "’", "lsquo": "‘", "ldquo": "“", "rdquo": "”", "bull": "•", "middot": "·",
    "copy": "©", "reg": "®", "trade": "™", "euro": "€",
  ]

  private static func entity(_ bytes: [UInt8], _ start: Int) -> (text: String, next: Int) {
    let window = bytes[(start + 1)..<min(start + 12, bytes.count)]
    guard let end = window.firstIndex(of: UInt8(ascii: ";")) else { return ("&", start + 1) }
    let name = String(decoding: window[..<end], as: UTF8.self)
    if let text = named[name] { return (text, end + 1) }
    guard name.hasPrefix("#") else { return ("&", start + 1) }
    let digits = name.dropFirst()
    let number = digits.lowercased().hasPrefix("x") ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
    guard let scalar = number.flatMap({ Unicode.Scalar($0) }) else { return ("&", start + 1) }
    return (String(Character(scalar)), end + 1)
  }
}

/// The text of an HTML document: for reading, searching and lists, never to be shown as HTML.
///
/// A tokenizer in the manner of HTML section 13.2.5, and no tree: one pass, in linear time on whatever comes.
enum HTMLText {
  /// What stands outside of tags, comments, scripts and styles; entities decoded, a line for each block, white space
  /// otherwise as HTML reads it.
  ///
  /// - Parameters:
  ///   - limit: the most bytes of the result, about: reading ends there.
  ///   - includingHidden: whether elements count that are not shown. Senders put into one what lists should show.
  static func text(_ html: String, limit: Int = .max, includingHidden: Bool = false) -> String {
    var html = html
    return html.withUTF8 { source in
      let bytes = UnsafeRawBufferPointer(source)
      var reader = HTMLReader(bytes, limit: limit, showsAll: includingHidden)
      reader.read()
      // An element that hides the rest because nobody closed it: better too much than nothing.
      if reader.output.isEmpty, reader.hasHidden {
        reader = HTMLReader(bytes, limit: limit, showsAll: true)
        reader.read()
      }
      return String(decoding: reader.output, as: UTF8.self)
    }
  }
}

private struct HTMLReader {
  private let bytes: UnsafeRawBufferPointer
  private let limit: Int
  private let showsAll: Bool
  private var at = 0
  private(set) var output: [UInt8] = []
  /// What is to stand before the next text, if there is text before it.
  private var gap = Gap.none
  private var preformatted = 0
  /// The element that is not shown, and how many of its name are open within.
  private var hidden = ""
  private var hiddenDepth = 0
  private(set) var hasHidden = false

  private enum Gap: Int {
    case none
    case space
    case line
  }

  init(_ bytes: UnsafeRawBufferPointer, limit: Int, showsAll: Bool) {
    self.bytes = bytes
    self.limit = limit
    self.showsAll = showsAll
  }

  mutating func read() {
    while at < bytes.count, output.count < limit {
      switch bytes[at] {
      case UInt8(ascii: "<"): markup()
      case UInt8(ascii: "&"): reference()
      case 10 where preformatted > 0:
        widen(.line)
        at += 1
      case 9, 10, 12, 13, 32:
        widen(.space)
        at += 1
      default: words()
      }
    }
  }

  private mutating func widen(_ wanted: Gap) { if wanted.rawValue > gap.rawValue { gap = wanted } }

  private mutating func emit(_ text: some Collection<UInt8>) {
    guard hiddenDepth == 0 else { return }
    if gap != .none, !output.isEmpty { output.append(gap == .line ? 10 : 32) }
    gap = .none
    output.append(contentsOf: text)
  }

  /// Everything up to the next byte that means something.
  private mutating func words() {
    let start = at
    while at < bytes.count, bytes[at] > 32, bytes[at] != UInt8(ascii: "<"), bytes[at] != UInt8(ascii: "&") { at += 1 }
    if at == start {
      // A control character.
      at += 1
      return
    }
    emit(UnsafeRawBufferPointer(rebasing: bytes[start..<at]))
  }

  private mutating func reference() {
    guard let (text, end) = HTMLEntities.read(bytes, at) else {
      emit(CollectionOfOne(bytes[at]))
      at += 1
      return
    }
    at = end
    if text == "\u{A0}" { widen(.space) } else { emit(text.utf8) }
  }

  // MARK: Markup

  private mutating func markup() {
    let next = at + 1 < bytes.count ? bytes[at + 1] : 0
    if next == UInt8(ascii: "!"), starts(with: "<!--", at) {
      // `<!-->` is a comment too.
      at = after("-->", from: at + 2)
    } else if next == UInt8(ascii: "!") || next == UInt8(ascii: "?") {
      at = after(">", from: at)
    } else if isLetter(next) {
      startTag()
    } else if next == UInt8(ascii: "/"), at + 2 < bytes.count {
      endTag()
    } else {
      emit(CollectionOfOne(bytes[at]))
      at += 1
    }
  }

  private mutating func startTag() {
    at += 1
    let name = name()
    let isHiding = attributes()
    if let mark = HTMLElements.unread[name] {
      skip(to: mark)
      widen(.space)
      return
    }
    let isBlock = HTMLElements.blocks.contains(name)
    // A paragraph ends where the next block begins, closed or not.
    if isBlock, hidden == "p" { hiddenDepth = 0 }
    if hiddenDepth > 0 {
      if name == hidden { hiddenDepth += 1 }
    } else if isHiding, !HTMLElements.empty.contains(name) {
      hasHidden = true
      hidden = name
      hiddenDepth = 1
    } else {
      separate(name, isBlock)
      if name == "pre" { preformatted += 1 }
    }
  }

  private mutating func endTag() {
    at += 2
    let name = name()
    at = after(">", from: at)
    if hiddenDepth > 0 {
      if name == hidden { hiddenDepth -= 1 }
    } else {
      separate(name, HTMLElements.blocks.contains(name))
      if name == "pre", preformatted > 0 { preformatted -= 1 }
    }
  }

  private mutating func separate(_ name: String, _ isBlock: Bool) {
    if isBlock { widen(.line) } else if name == "td" || name == "th" || name == "img" { widen(.space) }
  }

  /// In lower case; empty if it is longer than any that means something.
  private mutating func name() -> String {
    let start = at
    while at < bytes.count, !isSpace(bytes[at]), bytes[at] != UInt8(ascii: "/"), bytes[at] != UInt8(ascii: ">") {
      at += 1
    }
    guard at - start <= 12 else { return "" }
    return String(unsafeUninitializedCapacity: at - start) { buffer in
      for index in start..<at { buffer[index - start] = isLetter(bytes[index]) ? bytes[index] | 0x20 : bytes[index] }
      return at - start
    }
  }

  /// Reads to the end of the tag; whether an attribute says that the element is not shown.
  private mutating func attributes() -> Bool {
    var isHiding = false
    while at < bytes.count, bytes[at] != UInt8(ascii: ">") {
      if isSpace(bytes[at]) || bytes[at] == UInt8(ascii: "/") {
        at += 1
        continue
      }
      let start = at
      at += 1
      while at < bytes.count, !isSpace(bytes[at]), !">=/".utf8.contains(bytes[at]) { at += 1 }
      let name = start..<at
      skipSpace()
      guard at < bytes.count, bytes[at] == UInt8(ascii: "=") else {
        isHiding = isHiding || isName(name, "hidden")
        continue
      }
      at += 1
      skipSpace()
      let value = value()
      if !showsAll, isName(name, "style") { isHiding = isHiding || HTMLElements.hides(bytes, value) }
      if isName(name, "hidden") { isHiding = true }
    }
    at = min(at + 1, bytes.count)
    return isHiding && !showsAll
  }

  private mutating func value() -> Range<Int> {
    guard at < bytes.count else { return at..<at }
    let quote = bytes[at]
    if quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
      let start = at + 1
      let end = bytes.index(of: quote, from: start, to: bytes.count) ?? bytes.count
      at = min(end + 1, bytes.count)
      return start..<max(start, end)
    }
    let start = at
    while at < bytes.count, !isSpace(bytes[at]), bytes[at] != UInt8(ascii: ">") { at += 1 }
    return start..<at
  }

  /// Behind the end tag of an element whose content is not read; the end, if there is none.
  private mutating func skip(to mark: String) {
    while let found = bytes.index(of: UInt8(ascii: "<"), from: at, to: bytes.count) {
      at = found + 1
      if starts(with: mark, found) {
        at = after(">", from: found)
        return
      }
    }
    at = bytes.count
  }

  /// Behind the next `mark`, whose last byte is `>`; the end, if there is none.
  private func after(_ mark: String, from start: Int) -> Int {
    let count = mark.utf8.count
    var from = start
    while let found = bytes.index(of: UInt8(ascii: ">"), from: from, to: bytes.count) {
      if found + 1 - count >= start, starts(with: mark, found + 1 - count) { return found + 1 }
      from = found + 1
    }
    return bytes.count
  }

  private func starts(with mark: String, _ start: Int) -> Bool {
    guard start >= 0, bytes.count - start >= mark.utf8.count else { return false }
    for (offset, byte) in mark.utf8.enumerated() {
      let found = bytes[start + offset]
      guard (isLetter(found) ? found | 0x20 : found) == byte else { return false }
    }
    return true
  }

  private func isName(_ range: Range<Int>, _ name: String) -> Bool {
    range.count == name.utf8.count && starts(with: name, range.lowerBound)
  }

  private mutating func skipSpace() { while at < bytes.count, isSpace(bytes[at]) { at += 1 } }

  private func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

  private func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }
}

/// What is known of elements.
private enum HTMLElements {
  /// Those that begin a line of their own.
  static let blocks: Set<String> = [
    "address", "article", "aside", "blockquote", "br", "center", "dd", "details", "dir", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend", "li",
    "main",
    "menu", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
  ]
  /// Those whose content is not read, with the beginning of their end tag.
  static let unread: [String: String] = [
    "script": "</script", "style": "</style", "title": "</title", "template": "</template", "iframe": "</iframe",
    "noembed": "</noembed", "noframes": "</noframes",
  ]
  /// Those without content.
  static let empty: Set<String> = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
  ]

  /// Whether a style says that an element is not shown. As far as mail does it: only its own style, of which the first
  /// KiB is looked at.
  static func hides(_ bytes: UnsafeRawBufferPointer, _ style: Range<Int>) -> Bool {
    guard style.count >= 12 else { return false }
    var compact: [UInt8] = []
    for byte in bytes[style].prefix(1024) where byte > 32 {
      compact.append((65...90).contains(byte) ? byte | 0x20 : byte)
    }
    let text = String(decoding: compact, as: UTF8.self)
    return ["display:none", "visibility:hidden", "mso-hide:all"].contains { text.contains($0) }
  }
}

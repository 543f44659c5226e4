/// The pass over an address list: one step forward for every byte, comments counted and not recursed into.
struct AddressListReader {
  private let bytes: UnsafeRawBufferPointer
  private var at = 0
  private(set) var list = AddressList()
  /// The words since the last comma that stand outside of angle brackets.
  private var words: [Word] = []
  private var comment: [UInt8] = []
  private var hasAt = false
  /// The words between angle brackets; nil: there was none yet.
  private var angle: [Word]?
  private var isClosed = false
  private var group: Int?

  /// An atom, a quoted string, a domain literal, or one of the characters that stand for themselves.
  private struct Word {
    var text: [UInt8]
    var kind: Kind
    var followsSpace: Bool

    func isMark(_ mark: Unicode.Scalar) -> Bool { kind == .special && text == [UInt8(ascii: mark)] }
  }

  private enum Kind {
    case atom
    case quoted
    case special
  }

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func read() {
    while at < bytes.count {
      let followsSpace = skipSpace()
      guard at < bytes.count else { break }
      let byte = bytes[at]
      switch byte {
      case UInt8(ascii: "\""): add(Word(text: quoted(), kind: .quoted, followsSpace: followsSpace))
      case UInt8(ascii: "["): add(Word(text: literal(), kind: .atom, followsSpace: followsSpace))
      case UInt8(ascii: "<"):
        // `<<a@b>`, and what stands in quotes that were forgotten.
        if angle != nil { list.defects.insert(.malformed) }
        angle = []
        at += 1
      case UInt8(ascii: ">"):
        at += 1
        closeAngle()
      case UInt8(ascii: ","), UInt8(ascii: ";"):
        at += 1
        finish(endsGroup: byte == UInt8(ascii: ";"))
      case UInt8(ascii: ":") where angle == nil && group == nil && !hasAt:
        at += 1
        openGroup()
      case UInt8(ascii: "@"), UInt8(ascii: ":"), UInt8(ascii: "."):
        add(Word(text: [byte], kind: .special, followsSpace: followsSpace))
        at += 1
      default: add(Word(text: atom(), kind: .atom, followsSpace: followsSpace))
      }
      guard list.mailboxes.count < AddressList.maximumCount else {
        list.defects.insert(.beyondLimits)
        return
      }
    }
    if angle != nil, !isClosed { list.defects.insert(.malformed) }
    finish(endsGroup: false, isLast: true)
    if group != nil { list.defects.insert(.malformed) }
  }

  // MARK: Words

  private mutating func add(_ word: Word) {
    if angle == nil || isClosed {
      // Behind the address comes nothing more; some write a name there.
      if isClosed { list.defects.insert(.malformed) }
      words.append(word)
      hasAt = hasAt || word.isMark("@")
    } else {
      angle?.append(word)
    }
  }

  private mutating func closeAngle() {
    if angle == nil || isClosed { list.defects.insert(.malformed) } else { isClosed = true }
  }

  /// White space and comments, which nest; whether there was any. The last comment is kept: it may be a name.
  private mutating func skipSpace() -> Bool {
    let start = at
    var depth = 0
    while at < bytes.count {
      let byte = bytes[at]
      if depth > 0, byte == UInt8(ascii: "\\"), at + 1 < bytes.count {
        at += 1
        comment.append(bytes[at])
      } else if byte == UInt8(ascii: "(") {
        if depth == 0 { comment = [] } else { comment.append(byte) }
        depth += 1
      } else if byte == UInt8(ascii: ")"), depth > 0 {
        depth -= 1
        if depth > 0 { comment.append(byte) }
      } else if depth > 0 {
        if byte != 13, byte != 10 { comment.append(byte) }
      } else if byte != 32, !(9...13).contains(byte) {
        break
      }
      at += 1
    }
    if depth > 0 { list.defects.insert(.malformed) }
    return at > start
  }

  private mutating func quoted() -> [UInt8] {
    var text: [UInt8] = []
    at += 1
    while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
      if bytes[at] == UInt8(ascii: "\\"), at + 1 < bytes.count { at += 1 }
      if bytes[at] != 13, bytes[at] != 10 { text.append(bytes[at]) }
      at += 1
    }
    if at >= bytes.count { list.defects.insert(.malformed) }
    at = min(at + 1, bytes.count)
    return text
  }

  /// `[192.0.2.1]`, brackets included.
  private mutating func literal() -> [UInt8] {
    let start = at
    while at < bytes.count, !"],<>".utf8.contains(bytes[at]) { at += 1 }
    if at < bytes.count, bytes[at] == UInt8(ascii: "]") { at += 1 } else { list.defects.insert(.malformed) }
    return bytes[start..<at].filter { $0 > 32 }
  }

  private mutating func atom() -> [UInt8] {
    let start = at
    if let end = encodedWordEnd() {
      at = end
      return Array(bytes[start..<end])
    }
    // Whatever it is, it is a step forward.
    at += 1
    if !Self.isAtomText(bytes[start]) { list.defects.insert(.malformed) }
    while at < bytes.count, Self.isAtomText(bytes[at]) { at += 1 }
    return Array(bytes[start..<at])
  }

  /// The end of an encoded word that begins here; nil: none does. Some hold commas and brackets, although they must not
  /// (RFC 2047 section 5).
  private func encodedWordEnd() -> Int? {
    guard bytes.count - at > 2, bytes[at] == UInt8(ascii: "="), bytes[at + 1] == UInt8(ascii: "?") else { return nil }
    var marks = 0
    for index in (at + 2)..<min(bytes.count, at + 1000) {
      if bytes[index] <= 32 { return nil }
      if marks == 3 { return bytes[index] == UInt8(ascii: "=") ? index + 1 : nil }
      if bytes[index] == UInt8(ascii: "?") { marks += 1 }
    }
    return nil
  }

  private static func isAtomText(_ byte: UInt8) -> Bool { byte >= 128 || EmailAddress.isAtomText(byte) }

  // MARK: Addresses

  private mutating func openGroup() {
    list.groups.append(phrase(words))
    group = list.groups.count - 1
    words = []
    hasAt = false
    comment = []
  }

  /// A comma or semicolon, or the end: what was gathered is an address, or nothing.
  private mutating func finish(endsGroup: Bool, isLast: Bool = false) {
    defer {
      words = []
      hasAt = false
      comment = []
      angle = nil
      isClosed = false
      if endsGroup {
        // Outlook separates addresses so.
        if group == nil { list.defects.insert(.malformed) }
        group = nil
      }
    }
    guard !words.isEmpty || angle != nil else {
      if !isLast, !endsGroup { list.defects.insert(.obsolete) }
      return
    }
    let isBare = angle == nil
    var name = isBare ? "" : phrase(words)
    var address = angle ?? words
    // A route, `<@a,@b:c@d>`, is one that nobody takes any more.
    if address.first?.isMark("@") == true, let colon = address.lastIndex(where: { $0.isMark(":") }) {
      list.defects.insert(.obsolete)
      address = Array(address[(colon + 1)...])
    }
    if isBare, let start = bareStart(address) {
      // `Name a@b`, without brackets.
      list.defects.insert(.malformed)
      name = phrase(Array(address[..<start]))
      address = Array(address[start...])
    }
    if name.isEmpty { name = HeaderText.decode(comment) }
    append(address, name, isBare: isBare)
  }

  /// Where the address begins among words that should be nothing else; nil: at the first.
  private func bareStart(_ words: [Word]) -> Int? {
    guard var start = words.lastIndex(where: { $0.isMark("@") }), start > 0 else { return nil }
    start -= 1
    while start > 0, !words[start].followsSpace || words[start].isMark(".") || words[start - 1].isMark(".") {
      start -= 1
    }
    return start > 0 ? start : nil
  }

  private mutating func append(_ words: [Word], _ name: String, isBare: Bool) {
    let split = words.lastIndex { $0.isMark("@") }
    guard let split else {
      if !isBare || !words.isEmpty { list.defects.insert(.malformed) }
      // `<>`, or a name alone.
      let text = words.isEmpty ? "" : phrase(words)
      guard !name.isEmpty || !text.isEmpty else { return }
      list.mailboxes.append(.init(name: name, localPart: text, domain: "", group: group))
      return
    }
    let local = joined(words[..<split])
    let domain = joined(words[(split + 1)...])
    if local.isEmpty || domain.isEmpty { list.defects.insert(.malformed) }
    list.mailboxes.append(.init(name: name, localPart: local, domain: domain, group: group))
  }

  /// The words of a local part or domain; space between them is obsolete around dots, and else wrong.
  private mutating func joined(_ words: ArraySlice<Word>) -> String {
    var text: [UInt8] = []
    var needsDot = false
    for (index, word) in words.enumerated() {
      let isDot = word.isMark(".")
      if isDot != needsDot || word.kind == .special && !isDot { list.defects.insert(.malformed) }
      if index > 0, word.followsSpace { list.defects.insert(.obsolete) }
      text += word.text
      needsDot = !isDot
    }
    if !words.isEmpty, !needsDot { list.defects.insert(.malformed) }
    return HeaderText.sanitized(HeaderText.plain(text))
  }

  /// A display name: words with a space where there was one, encoded words decoded.
  private func phrase(_ words: [Word]) -> String {
    var text: [UInt8] = []
    for word in words {
      if word.followsSpace, !text.isEmpty { text.append(32) }
      text += word.text
    }
    return HeaderText.decode(text.prefix(8192))
  }
}

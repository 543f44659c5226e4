import Pipeline

extension MIMEPart {
  /// Whether it is text that can be read here: plain, HTML, or what holds parts by its type but not in fact.
  public var isText: Bool {
    isMultipart && !isContainer && !defects.contains(.tooDeep)
      || ["text/plain", "text/html", "text/enriched"].contains(type.value)
  }

  /// The body as text: decoded, its charset as Unicode, what is not of that charset as U+FFFD, line ends as LF. HTML is
  /// text still in HTML.
  ///
  /// - Parameter limit: the most bytes of the decoded body that are looked at.
  public func source(limit: Int) -> String {
    let bytes = content(limit: limit)
    var charset = type["charset"].flatMap { Charset($0) }
    if charset == nil, type.value == "text/html" { charset = Self.charset(inHTML: bytes) }
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { return Charset.utf8.text(bytes[3..<bytes.count]) }
    return (charset ?? .ascii).text(bytes)
  }

  /// The body as text to read: of HTML, what it shows. Lines end in LF.
  ///
  /// - Parameter limit: the most bytes of the decoded body that are looked at.
  public func text(limit: Int = 1 << 20) -> String {
    let source = source(limit: limit)
    switch type.value {
    case "text/html": return HTMLText.text(source)
    default: return Self.withoutCarriageReturns(source)
    }
  }

  private static func withoutCarriageReturns(_ text: String) -> String {
    var text = text
    return text.withUTF8 { bytes in
      let bytes = UnsafeRawBufferPointer(bytes)
      guard var end = bytes.index(of: 13, from: 0, to: bytes.count) else { return nil }
      return String(unsafeUninitializedCapacity: bytes.count) { output in
        let output = UnsafeMutableRawBufferPointer(output)
        // Line by line: what stands between two of them is copied at once.
        var (start, count) = (0, 0)
        while true {
          UnsafeMutableRawBufferPointer(rebasing: output[count...]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
          count += end - start
          guard end < bytes.count else { return count }
          start = end + 1
          end = bytes.index(of: 13, from: start, to: bytes.count) ?? bytes.count
        }
      }
    } ?? text
  }

  /// `<meta charset=…>` or its older form, within the first KiB (HTML section 13.2.3.2).
  private static func charset(inHTML bytes: Bytes) -> Charset? {
    let start = String(decoding: bytes.prefix(1024), as: UTF8.self).lowercased()
    for found in start.split(separator: "charset=", maxSplits: 2, omittingEmptySubsequences: false).dropFirst() {
      let name = found.drop { $0 == "\"" || $0 == "'" }.prefix {
        $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0))
      }
      if let charset = Charset(String(name)) { return charset }
    }
    return nil
  }
}

extension MIMEMessage {
  /// The parts that are the message's own text, in order: of alternatives the plain one if it says something, of related
  /// parts the first, and nothing of messages in the message.
  public var textParts: [MIMEPart] {
    var found: [MIMEPart] = []
    // What is still to be looked at: a stack of parts, the next one last.
    var waiting = parts.prefix(1).map(\.index)
    while let index = waiting.popLast() {
      guard parts.indices.contains(index) else { continue }
      let part = parts[index]
      if !part.isContainer {
        if part.isText, !isAttachment(part) { found.append(part) }
      } else if !part.isMessage {
        let children = children(of: part)
        switch part.type.value {
        case "multipart/alternative": waiting += [alternative(children)].compactMap { $0?.index }
        case "multipart/related": waiting += children.prefix(1).map(\.index)
        default: waiting += children.reversed().map(\.index)
        }
      }
    }
    return found
  }

  /// The first with plain text that is not blank, else the first with HTML, else the first.
  private func alternative(_ children: [MIMEPart]) -> MIMEPart? {
    func first(_ type: String) -> MIMEPart? {
      children.first { child in
        parts[child.index..<min(child.end, parts.count)].contains { $0.type.value == type && !$0.isBlank }
      }
    }
    return first("text/plain") ?? first("text/html") ?? children.first
  }

  /// The message's own text, its parts one below the other.
  ///
  /// - Parameter limit: the most bytes of decoded parts that are looked at, together.
  public func text(limit: Int = 1 << 20) -> String {
    var text = ""
    var left = limit
    for part in textParts where left > 0 {
      let source = part.text(limit: left)
      left -= min(left, part.body.count)
      if !text.isEmpty, !source.isEmpty, text.utf8.last != 10 { text += "\n" }
      text += source
    }
    return text
  }

  /// Parts that are meant to be saved rather than shown, messages among them; not what those messages hold.
  public var attachments: [MIMEPart] {
    var found: [MIMEPart] = []
    var index = 0
    while parts.indices.contains(index) {
      let isAttachment = isAttachment(parts[index])
      if isAttachment { found.append(parts[index]) }
      index = isAttachment ? parts[index].end : index + 1
    }
    return found
  }

  /// Whether there are attachments.
  public var hasAttachment: Bool { parts.contains { isAttachment($0) } }

  /// Whether a part is meant to be saved: it says so, has a name, or is of no type that is shown.
  public func isAttachment(_ part: MIMEPart) -> Bool {
    guard !part.isMultipart else { return false }
    if part.isMessage, part.isContainer, part.index == 0 { return false }
    let holder = parent(of: part)?.type.value
    // The signature, the report for programs: they belong to how a message is sent.
    if holder == "multipart/signed" || holder == "multipart/encrypted" || holder == "multipart/report" {
      return part.type.value != "message/rfc822" && part.index > 0 && part.disposition?.value == "attachment"
        && !Self.isSealing(part.type.value)
    }
    if let disposition = part.disposition, disposition.value == "attachment" { return true }
    if part.isMessage { return true }
    // What an HTML text shows within it.
    if holder == "multipart/related", part.contentID != nil || part.header.first("content-location") != nil {
      return false
    }
    return !part.type.value.hasPrefix("text/") || part.index > 0 && !part.isText && part.fileName != nil
  }

  private static func isSealing(_ type: String) -> Bool {
    type.hasSuffix("pgp-signature") || type.hasSuffix("pkcs7-signature") || type == "application/pgp-encrypted"
  }

  /// The beginning of the text for a list: at most `length` characters on one line.
  public func preview(_ length: Int = 200) -> String {
    var line = Preview(length)
    for part in textParts {
      // Marketing mail has kilobytes of style before its first word: looked at only if there were no words before.
      for limit in [4096, 96 * 1024] {
        var attempt = line
        let source = part.source(limit: limit)
        let isHTML = part.type.value == "text/html"
        attempt.append(isHTML ? HTMLText.text(source, limit: 16 * length, includingHidden: true) : source)
        if attempt.isFull || part.body.count <= limit || limit > 4096 || !isHTML {
          line = attempt
          break
        }
      }
      if line.isFull { break }
    }
    return line.text
  }
}

extension MIMEPart {
  /// Whether the body has nothing but white space.
  var isBlank: Bool { body.withUnsafeBytes { $0.allSatisfy { $0 <= 32 } } }
}

/// Text on one line: a single space for any run of white space, controls and what has no width.
struct Preview {
  private let length: Int
  private var output: [UInt8] = []
  private var isASCII = true
  private var isGap = false
  private var joiner: Unicode.Scalar?

  init(_ length: Int) { self.length = length }

  /// Whether more text would change nothing.
  var isFull: Bool { isASCII ? output.count >= length : output.count >= 16 * length }

  /// At most `length` characters.
  var text: String {
    isASCII
      ? String(decoding: output.prefix(length), as: UTF8.self)
      : String(String(decoding: output, as: UTF8.self).prefix(length))
  }

  /// Nearly all text is ASCII, of which a few hundred bytes are looked at, and no more: every message comes here.
  mutating func append(_ text: String) {
    isGap = !output.isEmpty
    for scalar in text.unicodeScalars {
      let isSpace =
        scalar.isASCII
        ? scalar.value <= 32 || scalar.value == 127
        : HeaderText.isControl(scalar) || scalar.properties.isWhitespace
      if isSpace {
        isGap = !output.isEmpty
        continue
      }
      if !scalar.isASCII, Self.isFiller(scalar) { continue }
      if Self.isJoiner(scalar) {
        joiner = isGap ? nil : scalar
        continue
      }
      if let joiner, !isGap { encode(joiner) }
      joiner = nil
      if isGap { output.append(32) }
      isGap = false
      if scalar.isASCII {
        output.append(UInt8(truncatingIfNeeded: scalar.value))
      } else {
        encode(scalar)
      }
      if isFull { break }
    }
  }

  private mutating func encode(_ scalar: Unicode.Scalar) {
    isASCII = false
    output.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
  }

  /// What senders fill a line with so that nothing else is shown behind their words.
  private static func isFiller(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0xAD, 0x34F, 0x200B, 0x2060, 0xFEFF: true
    default: false
    }
  }

  /// That too, but within a word they mean something.
  private static func isJoiner(_ scalar: Unicode.Scalar) -> Bool { scalar.value == 0x200C || scalar.value == 0x200D }
}

import Pipeline

/// The pass that finds the parts of a message.
///
/// It looks at the lines that begin with two hyphens, and compares each with the boundaries of the multiparts that are
/// open, the innermost first. A line of an outer one ends all that lie within (RFC 2046 section 5.1.2).
struct MIMEReader {
  private let message: Bytes
  private let limits: MIMEMessage.Limits
  private(set) var parts: [MIMEPart] = []
  /// The parts whose end is not known yet, each within the one before.
  private var open: [Int] = []
  /// The multiparts among them that still may get parts.
  private var levels: [Level] = []

  private struct Level {
    let part: Int
    let boundary: [UInt8]
    var count = 0
  }

  private struct Delimiter {
    let level: Int
    let isClose: Bool
    let line: Range<Int>
  }

  init(_ message: Bytes, _ limits: MIMEMessage.Limits) {
    self.message = message
    self.limits = limits
  }

  mutating func read() {
    var at = enter(0, as: "", default: "text/plain")
    while !levels.isEmpty, let found = delimiter(from: at) {
      close(above: found)
      at = found.line.upperBound
      if found.isClose {
        levels.removeLast()
        continue
      }
      guard parts.count < limits.parts else {
        note(.tooManyParts)
        break
      }
      levels[found.level].count += 1
      let parent = parts[levels[found.level].part]
      let number = parent.number.isEmpty ? "" : parent.number + "."
      at = enter(
        at, as: number + String(levels[found.level].count),
        default: parent.type.value == "multipart/digest" ? "message/rfc822" : "text/plain")
    }
    for level in levels { parts[level.part].defects.insert(.notClosed) }
    for part in open.reversed() { finish(part, at: message.count) }
  }

  private mutating func note(_ defect: MIMEMessage.Defects) {
    if let level = levels.last { parts[level.part].defects.insert(defect) }
  }

  // MARK: Parts

  /// Reads the part at `start`, and the messages that begin with it; returns where its body begins.
  private mutating func enter(_ start: Int, as number: String, default type: String) -> Int {
    var start = start
    var number = number
    var type = type
    while true {
      let part = begin(start, number, type)
      let bodyStart = parts[part].bodyRange.lowerBound
      let isMessage = parts[part].isMessage
      guard isMessage || parts[part].isMultipart else { return bodyStart }
      if parts[part].encoding != .identity { parts[part].defects.insert(.encodedComposite) }
      guard parts[part].depth < limits.depth, !isMessage || parts.count < limits.parts else {
        parts[part].defects.insert(isMessage && parts.count >= limits.parts ? .tooManyParts : .tooDeep)
        return bodyStart
      }
      if !isMessage {
        let boundary = Self.trimmed(parts[part].type.boundary)
        if boundary.isEmpty {
          parts[part].defects.insert(.noBoundary)
        } else {
          levels.append(Level(part: part, boundary: boundary))
        }
        return bodyStart
      }
      // An encoded message cannot be given as a range; it is one to save.
      if parts[part].encoding != .identity { return bodyStart }
      start = bodyStart
      number = parts[part].number
      type = "text/plain"
    }
  }

  /// Adds the part at `start`. `number`: its own, or that of the message whose content it is.
  private mutating func begin(_ start: Int, _ number: String, _ defaultType: String) -> Int {
    let isContent = open.last.map { parts[$0].isMessage } ?? true
    let rest = message[start..<message.count]
    let levels = levels
    let header = HeaderSection(rest, limits: isContent ? limits.header : limits.partHeader) {
      Self.match($0, levels) != nil
    }
    var defects: MIMEMessage.Defects = []
    var type = header.first("content-type").map { ContentField($0) } ?? ContentField(value: defaultType)
    if !Self.isType(type.value) {
      type = ContentField(value: defaultType)
      defects.insert(.badContentType)
    }
    var encoding = TransferEncoding.identity
    if let field = header.first("content-transfer-encoding") {
      if let known = TransferEncoding(ContentField(field).value) {
        encoding = known
      } else {
        defects.insert(.unknownEncoding)
      }
    }
    // The content of a message has a number of its own, unless it is a multipart (RFC 9051 section 6.4.5.1).
    let own = !isContent || type.value.hasPrefix("multipart/") ? number : number.isEmpty ? "1" : number + ".1"
    let bodyStart = start + header.bodyStart
    parts.append(
      MIMEPart(
        index: parts.count, parent: open.last, depth: open.count, number: own, end: parts.count + 1,
        range: start..<bodyStart, bodyRange: bodyStart..<bodyStart, body: .empty, header: header, type: type,
        encoding: encoding, defects: defects))
    open.append(parts.count - 1)
    return parts.count - 1
  }

  /// `type/subtype`, of tokens (RFC 2045 section 5.1).
  private static func isType(_ value: String) -> Bool {
    var slashes = 0
    for byte in value.utf8 {
      if byte == UInt8(ascii: "/") { slashes += 1 }
      guard byte > 32, byte < 127, !"()<>@,;:\\\"[]?=".utf8.contains(byte) else { return false }
    }
    return slashes == 1 && value.utf8.first != UInt8(ascii: "/") && value.utf8.last != UInt8(ascii: "/")
  }

  // MARK: Ends

  /// Ends all that lies within the level of a delimiter.
  private mutating func close(above delimiter: Delimiter) {
    while levels.count > delimiter.level + 1 {
      parts[levels.removeLast().part].defects.insert(.notClosed)
    }
    // The line break before a delimiter belongs to it (RFC 2046 section 5.1.1).
    var end = message.withUnsafeBytes { bytes in
      var end = delimiter.line.lowerBound
      if end > 0, bytes[end - 1] == 10 { end -= 1 }
      if end > 0, end < delimiter.line.lowerBound, bytes[end - 1] == 13 { end -= 1 }
      return end
    }
    while let part = open.last, part != levels[delimiter.level].part {
      finish(part, at: end)
      // A part without a byte begins behind that line break: then it belongs to all that the part lies in.
      end = max(end, parts[part].range.upperBound)
      open.removeLast()
    }
  }

  private mutating func finish(_ index: Int, at end: Int) {
    let start = parts[index].range.lowerBound
    let bodyStart = parts[index].bodyRange.lowerBound
    // An empty body has no line break of its own to give away; a header section without an empty line has.
    let end = max(end, bodyStart)
    parts[index].range = start..<end
    parts[index].bodyRange = bodyStart..<end
    parts[index].body = message[bodyStart..<end]
    parts[index].end = parts.count
    if parts[index].isMultipart, parts.count == index + 1,
      parts[index].defects.isDisjoint(with: [.noBoundary, .tooDeep])
    {
      parts[index].defects.insert(.noParts)
    }
    // It holds nothing, and so is what its message has.
    let isContent = parts[index].parent.map { parts[$0].isMessage } ?? true
    if isContent, parts[index].isMultipart, parts.count == index + 1 {
      parts[index].number += parts[index].number.isEmpty ? "1" : ".1"
    }
  }

  // MARK: Delimiters

  private func delimiter(from start: Int) -> Delimiter? {
    message.withUnsafeBytes { bytes in
      var at = start
      while at < bytes.count {
        let newline = bytes.index(of: 10, from: at, to: bytes.count) ?? bytes.count
        if newline - at > 2, bytes[at] == UInt8(ascii: "-"), bytes[at + 1] == UInt8(ascii: "-"),
          let (level, isClose) = Self.match(UnsafeRawBufferPointer(rebasing: bytes[at..<newline]), levels)
        {
          return Delimiter(level: level, isClose: isClose, line: at..<min(newline + 1, bytes.count))
        }
        at = newline + 1
      }
      return nil
    }
  }

  /// The innermost level whose delimiter a line is. Only space may follow: one boundary may begin with another.
  private static func match(_ line: UnsafeRawBufferPointer, _ levels: [Level]) -> (level: Int, isClose: Bool)? {
    guard line.count > 2 else { return nil }
    var end = line.count
    while end > 2, isSpace(line[end - 1]) { end -= 1 }
    let text = UnsafeRawBufferPointer(rebasing: line[2..<end])
    for (level, open) in levels.enumerated().reversed() {
      let isClose = text.count == open.boundary.count + 2
      guard isClose || text.count == open.boundary.count, text.starts(with: open.boundary) else { continue }
      if !isClose { return (level, false) }
      if text[text.count - 1] == UInt8(ascii: "-"), text[text.count - 2] == UInt8(ascii: "-") { return (level, true) }
    }
    return nil
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 || byte == 13 }

  private static func trimmed(_ boundary: [UInt8]) -> [UInt8] {
    var boundary = boundary.prefix(1000)
    while let last = boundary.last, isSpace(last) { boundary.removeLast() }
    return Array(boundary)
  }
}

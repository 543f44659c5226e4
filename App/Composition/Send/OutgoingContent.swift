/// A message as it is sent: lines end with CR LF, the last one too, and nothing else is changed.
struct OutgoingContent: Equatable {
  /// The message.
  let bytes: [UInt8]
  /// Whether bytes above 127 stand in it, and in its header section.
  let isEightBit: Bool
  let hasEightBitHeader: Bool

  /// Takes lines that end with CR LF, LF or CR.
  init(_ text: [UInt8]) {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count + text.count / 32)
    var at = 0
    while at < text.count {
      let end = text[at...].firstIndex { $0 == 10 || $0 == 13 } ?? text.count
      bytes += text[at..<end]
      bytes += [13, 10]
      at = end + (end + 1 < text.count && text[end] == 13 && text[end + 1] == 10 ? 2 : 1)
    }
    self.bytes = bytes
    isEightBit = bytes.contains { $0 > 127 }
    hasEightBitHeader = isEightBit && bytes[..<Self.endOfHeader(bytes)].contains { $0 > 127 }
  }

  /// With a dot more at lines that begin with one, and the end of the message behind it (RFC 5321 section 4.5.2).
  var stuffed: [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + bytes.count / 64 + 5)
    var isLineStart = true
    for byte in bytes {
      if isLineStart, byte == UInt8(ascii: ".") { result.append(byte) }
      result.append(byte)
      isLineStart = byte == 10
    }
    result += [UInt8(ascii: "."), 13, 10]
    return result
  }

  /// Whether it begins like a message: with a header field.
  var beginsWithHeader: Bool {
    let line = bytes.prefix { $0 != 13 }
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0 else { return false }
    return line[..<colon].allSatisfy { (33...126).contains($0) }
  }

  private static func endOfHeader(_ bytes: [UInt8]) -> Int {
    var at = 0
    while at < bytes.count, bytes[at] != 13, let end = bytes[at...].firstIndex(of: 10) { at = end + 1 }
    return at
  }
}

import Glibc
import Pipeline

/// A quick look at the body, for a list: the beginning of its text, and whether something is attached.
///
/// It looks at the first parts and bytes only, follows nested multiparts to a small depth, and gives up rather than
/// guess: what cannot be read so is left empty. The MIME reader proper is for opening a message, not for storing it.
struct BodySketch {
  /// The beginning of the text on one line, at most 200 characters.
  private(set) var preview = ""
  private(set) var hasAttachment = false

  private static let maximumParts = 50
  private static let maximumDepth = 8
  private static let previewSource = 4096
  private static let previewLength = 200
  private var parts = 0

  init(_ message: Bytes, _ header: HeaderSection) { look(message, header, depth: 0) }

  private mutating func look(_ entity: Bytes, _ header: HeaderSection, depth: Int) {
    parts += 1
    guard parts <= Self.maximumParts, depth <= Self.maximumDepth else { return }
    let type = ContentField(header.first("content-type")?.unfolded ?? Array("text/plain".utf8))
    let disposition = ContentField(header.first("content-disposition")?.unfolded ?? [])
    let body = entity[header.bodyStart..<entity.count]
    if type.value.hasPrefix("multipart/") {
      guard let boundary = type["boundary"], (1...200).contains(boundary.utf8.count) else { return }
      for part in Self.split(body, Array(boundary.utf8), limit: Self.maximumParts) {
        look(part, HeaderSection(part, limits: HeaderSection.Limits(fields: 100, bytes: 32 * 1024)), depth: depth + 1)
      }
    } else if disposition.value == "attachment"
      || depth > 0 && !type.value.hasPrefix("text/")
        && (disposition["filename"] ?? type["name"]) != nil
    {
      hasAttachment = true
    } else if preview.isEmpty, ["text/plain", "text/html", ""].contains(type.value) {
      let encoding = header.first("content-transfer-encoding")?.unfolded ?? []
      preview = Self.text(body, type["charset"], encoding, isHTML: type.value == "text/html")
    }
  }

  private static func text(_ body: Bytes, _ charset: String?, _ encoding: [UInt8], isHTML: Bool) -> String {
    let source = body[0..<min(isHTML ? 4 * previewSource : previewSource, body.count)]
    let bytes: [UInt8]
    switch String(decoding: encoding, as: UTF8.self).lowercased() {
    case "base64": bytes = TransferCoding.base64(source)
    case "quoted-printable": bytes = TransferCoding.quotedPrintable(source, inHeader: false)
    default: bytes = Array(source)
    }
    // Without a charset it should be ASCII, and may be anything.
    let decoded = charset.map { Charset($0)?.text(bytes) ?? "" } ?? HeaderText.plain(bytes)
    let text = isHTML ? HTMLSketch.text(decoded) : decoded
    return onOneLine(text, limit: previewLength)
  }

  /// The first `limit` characters, with a single space for any run of white space and controls.
  ///
  /// Nearly all text is ASCII, of which a few hundred bytes are looked at, and no more: every message comes here.
  static func onOneLine(_ text: String, limit: Int) -> String {
    var output: [UInt8] = []
    var isASCII = true
    var isGap = false
    for scalar in text.unicodeScalars {
      let isSpace =
        scalar.isASCII
        ? scalar.value <= 32 || scalar.value == 127
        : HeaderText.isControl(scalar) || scalar.properties.isWhitespace
      if isSpace {
        isGap = !output.isEmpty
        continue
      }
      if isGap { output.append(32) }
      isGap = false
      if scalar.isASCII {
        output.append(UInt8(truncatingIfNeeded: scalar.value))
      } else {
        isASCII = false
        output.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
      }
      if isASCII, output.count > limit { break }
    }
    return isASCII
      ? String(decoding: output.prefix(limit), as: UTF8.self)
      : String(String(decoding: output, as: UTF8.self).prefix(limit))
  }

  private static func newline(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int {
    guard let base = bytes.baseAddress, let found = memchr(base + start, 10, bytes.count - start) else {
      return bytes.count
    }
    return base.distance(to: UnsafeRawPointer(found))
  }

  /// The parts between delimiter lines (RFC 2046 section 5.1.1); the last one need not be closed.
  static func split(_ body: Bytes, _ boundary: [UInt8], limit: Int) -> [Bytes] {
    let delimiter = Array("--".utf8) + boundary
    var starts: [(line: Int, content: Int)] = []
    body.withUnsafeBytes { bytes in
      var at = 0
      while at < bytes.count, starts.count <= limit {
        let end = Self.newline(bytes, at)
        if bytes.count - at >= delimiter.count, bytes[at] == delimiter[0],
          bytes[at..<at + delimiter.count].elementsEqual(delimiter)
        {
          let rest = bytes[(at + delimiter.count)..<end]
          let isClose = rest.starts(with: "--".utf8)
          // Nothing but space may follow: another boundary could begin with this one.
          if isClose || rest.allSatisfy({ $0 == 32 || $0 == 9 || $0 == 13 }) {
            starts.append((at, min(end + 1, bytes.count)))
            if isClose { return }
          }
        }
        at = end + 1
      }
      starts.append((bytes.count, bytes.count))
    }
    return zip(starts, starts.dropFirst()).map { body[$0.content..<max($0.content, $1.line)] }
  }
}

/// A structured field such as `Content-Type: text/plain; charset="utf-8"` (RFC 2045 section 5.1).
struct ContentField {
  /// What stands before the first semicolon, in lower case.
  let value: String
  private var parameters: [(name: String, value: String)] = []

  init(_ bytes: [UInt8]) {
    var fields: [[UInt8]] = [[]]
    var isQuoted = false
    var isEscaped = false
    for byte in bytes.prefix(4096) {
      if isEscaped {
        isEscaped = false
      } else if isQuoted, byte == UInt8(ascii: "\\") {
        isEscaped = true
        continue
      } else if byte == UInt8(ascii: "\"") {
        isQuoted.toggle()
        continue
      } else if byte == UInt8(ascii: ";"), !isQuoted {
        if fields.count > 32 { break }
        fields.append([])
        continue
      }
      fields[fields.count - 1].append(byte)
    }
    func text(_ bytes: some Collection<UInt8>) -> String {
      HeaderText.plain(bytes).split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
    }
    value = text(fields[0]).lowercased()
    for field in fields.dropFirst() {
      guard let equals = field.firstIndex(of: UInt8(ascii: "=")) else { continue }
      parameters.append((text(field[..<equals]).lowercased(), text(field[(equals + 1)...])))
    }
  }

  subscript(name: String) -> String? { parameters.first { $0.name == name }?.value }
}

import Pipeline

/// A structured field of MIME such as `Content-Type: text/plain; charset="utf-8"` (RFC 2045 section 5.1), with the
/// continuations, charsets and languages of RFC 2231, and what programs write in their place.
public struct ContentField: Sendable, Hashable {
  /// What stands before the first semicolon, in lower case, without comments.
  public let value: String
  /// The parameters in order, names in lower case; pieces are put together, texts decoded. Of one that comes twice, the
  /// first.
  public private(set) var parameters: [Parameter] = []

  /// The parameter `boundary` byte for byte.
  private(set) var boundary: [UInt8] = []

  /// `name=value`.
  public struct Parameter: Sendable, Hashable {
    /// In lower case, without the marks of RFC 2231.
    public let name: String
    /// For a person.
    public let value: String
  }

  /// How many bytes of a field are looked at.
  public static let maximumLength = 16 * 1024
  /// How many parameters, or pieces of them, are read.
  public static let maximumParameters = 128

  /// The parameter of that name, given in lower case.
  public subscript(name: String) -> String? { parameters.first { $0.name == name }?.value }

  /// A value without parameters.
  init(value: String) { self.value = value }

  /// Reads the value of a field.
  public init(_ field: HeaderField) {
    let raw = field.rawValue
    self = raw.withUnsafeBytes { ContentField(UnsafeRawBufferPointer(rebasing: $0.prefix(Self.maximumLength))) }
  }

  init(_ bytes: UnsafeRawBufferPointer) {
    var scanner = Scanner(bytes: bytes)
    value = scanner.value()
    var pieces: [Piece] = []
    while pieces.count < Self.maximumParameters, let (name, value) = scanner.parameter() {
      pieces.append(Piece(name, value))
    }
    assemble(pieces)
  }

  /// A parameter as written: `name`, `name*`, `name*0`, `name*0*` (RFC 2231 sections 3 and 4).
  private struct Piece {
    let name: String
    let value: [UInt8]
    /// Nil: not a continuation.
    let number: Int?
    let isExtended: Bool

    init(_ written: [UInt8], _ value: [UInt8]) {
      self.value = value
      var name = written[...]
      isExtended = name.last == UInt8(ascii: "*")
      if isExtended { name = name.dropLast() }
      let star = name.lastIndex(of: UInt8(ascii: "*"))
      let number = star.flatMap { Int(String(decoding: name[($0 + 1)...], as: UTF8.self)) }
      self.number = number
      if let star, number != nil { name = name[..<star] }
      self.name = String(decoding: name, as: UTF8.self)
    }
  }

  private mutating func assemble(_ pieces: [Piece]) {
    for piece in pieces where self[piece.name] == nil {
      let same = pieces.filter { $0.name == piece.name }
      // The form that says its charset is the better one where both are there (RFC 6266 section 4.3 has the reason).
      let chosen: [Piece]
      if let whole = same.first(where: { $0.isExtended && $0.number == nil }) {
        chosen = [whole]
      } else {
        let numbered = same.filter { $0.number != nil }
        chosen = numbered.isEmpty ? [piece] : numbered.sorted { ($0.number ?? 0) < ($1.number ?? 0) }
      }
      let (bytes, charset) = Self.joined(chosen)
      // Some write encoded words into quoted strings, and even into continuations.
      let value = charset.map { HeaderText.sanitized($0.text(bytes)) } ?? HeaderText.decode(bytes)
      parameters.append(Parameter(name: piece.name, value: value))
      if piece.name == "boundary" { boundary = bytes }
    }
  }

  /// The first piece says charset and language, if it is extended; each says for itself whether it is percent-encoded.
  private static func joined(_ pieces: [Piece]) -> (bytes: [UInt8], charset: Charset?) {
    var bytes: [UInt8] = []
    var charset: Charset?
    for (index, piece) in pieces.enumerated() {
      var value = piece.value[...]
      if index == 0, piece.isExtended, let first = value.firstIndex(of: UInt8(ascii: "'")),
        let second = value[(first + 1)...].firstIndex(of: UInt8(ascii: "'"))
      {
        charset = Charset(String(decoding: value[..<first], as: UTF8.self))
        value = value[(second + 1)...]
      }
      bytes += piece.isExtended ? percentDecoded(value) : Array(value)
    }
    return (bytes, charset)
  }

  private static func percentDecoded(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var output: [UInt8] = []
    var at = text.startIndex
    while at < text.endIndex {
      if text[at] == UInt8(ascii: "%"), at + 2 < text.endIndex, let high = TransferCoding.digit(text[at + 1]),
        let low = TransferCoding.digit(text[at + 2])
      {
        output.append(high << 4 | low)
        at += 3
      } else {
        output.append(text[at])
        at += 1
      }
    }
    return output
  }
}

/// The pass over a structured field.
private struct Scanner {
  let bytes: UnsafeRawBufferPointer
  private var at = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

  /// Space, line breaks and comments, which nest.
  private mutating func skipSpace() {
    var depth = 0
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "("): depth += 1
      case UInt8(ascii: ")") where depth > 0: depth -= 1
      case UInt8(ascii: "\\") where depth > 0: at += 1
      case let byte where depth == 0 && !Self.isSpace(byte): return
      default: break
      }
      at += 1
    }
    at = min(at, bytes.count)
  }

  /// What stands before the first semicolon: one word in lower case, with no space around a slash.
  mutating func value() -> String {
    var word: [UInt8] = []
    while true {
      skipSpace()
      guard at < bytes.count, bytes[at] != UInt8(ascii: ";") else { break }
      // A second word: somebody forgot a semicolon, and `parameter` begins here.
      if !word.isEmpty, word.last != UInt8(ascii: "/"), bytes[at] != UInt8(ascii: "/") { break }
      while at < bytes.count, !Self.isSpace(bytes[at]), !";(".utf8.contains(bytes[at]) {
        // Some quote it.
        if bytes[at] != UInt8(ascii: "\"") { word.append(bytes[at]) }
        at += 1
      }
    }
    return HeaderText.plain(word).lowercased()
  }

  /// The next `name=value`; what has no `=` is passed over.
  mutating func parameter() -> (name: [UInt8], value: [UInt8])? {
    while true {
      skipSpace()
      guard at < bytes.count else { return nil }
      if bytes[at] == UInt8(ascii: ";") {
        at += 1
        continue
      }
      var name: [UInt8] = []
      while at < bytes.count, !Self.isSpace(bytes[at]), !";=(".utf8.contains(bytes[at]) {
        name.append((65...90).contains(bytes[at]) ? bytes[at] | 0x20 : bytes[at])
        at += 1
      }
      skipSpace()
      guard at < bytes.count, bytes[at] == UInt8(ascii: "=") else {
        // Always a step forward, whatever stands here.
        if name.isEmpty { at += 1 }
        continue
      }
      at += 1
      skipSpace()
      let value = at < bytes.count && bytes[at] == UInt8(ascii: "\"") ? quoted() : bare()
      if !name.isEmpty { return (name, value) }
    }
  }

  /// A quoted string; one that is not closed goes to the end.
  private mutating func quoted() -> [UInt8] {
    var value: [UInt8] = []
    at += 1
    while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
      // A backslash before another character than these is one of DOS.
      if bytes[at] == UInt8(ascii: "\\"), at + 1 < bytes.count, "\"\\".utf8.contains(bytes[at + 1]) { at += 1 }
      if bytes[at] != 13 && bytes[at] != 10 { value.append(bytes[at]) }
      at += 1
    }
    at = min(at + 1, bytes.count)
    return value
  }

  /// A token, and what some write instead: everything up to the semicolon.
  private mutating func bare() -> [UInt8] {
    var value: [UInt8] = []
    while at < bytes.count, bytes[at] != UInt8(ascii: ";") {
      if bytes[at] != 13 && bytes[at] != 10 { value.append(bytes[at]) }
      at += 1
    }
    while let last = value.last, Self.isSpace(last) { value.removeLast() }
    // `charset=utf-8 (a comment)`.
    if value.last == UInt8(ascii: ")"), let open = value.firstIndex(of: UInt8(ascii: "(")), open > 0,
      Self.isSpace(value[open - 1])
    {
      value.removeSubrange((open - 1)...)
      while let last = value.last, Self.isSpace(last) { value.removeLast() }
    }
    return value
  }
}

/// Walks over the bytes of a command line.
struct SMTPScanner {
  private let bytes: [UInt8]
  private var at = 0
  private var end: Int

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    end = bytes.count
  }

  var isAtEnd: Bool { at >= end }
  /// The byte that comes next; nil at the end.
  var next: UInt8? { at < end ? bytes[at] : nil }
  /// Whether what is left is ASCII without control characters.
  var isASCII: Bool { bytes[at..<end].allSatisfy { (32...126).contains($0) } }

  mutating func dropTrailingSpaces() {
    while end > at, bytes[end - 1] == 32 || bytes[end - 1] == 9 { end -= 1 }
  }

  @discardableResult
  mutating func skipSpaces() -> Int { take { $0 == 32 }.count }

  /// Takes `byte` if it comes next.
  mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    at += 1
    return true
  }

  /// Takes the longest run of bytes that fit.
  mutating func take(while fits: (UInt8) -> Bool) -> ArraySlice<UInt8> {
    let start = at
    while at < end, fits(bytes[at]) { at += 1 }
    return bytes[start..<at]
  }

  /// Takes ASCII letters, as upper-case text; at most 16, so that a long line costs nothing.
  mutating func takeLetters() -> String {
    let start = at
    while at < end, at - start < 16, SMTPPathGrammar.isLetter(bytes[at]) { at += 1 }
    return String(decoding: bytes[start..<at].map { $0 & 0xDF }, as: UTF8.self)
  }

  /// Takes an upper-case word, in whatever case it was sent.
  mutating func take(word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard end - at >= count else { return false }
    let fits = word.withUTF8Buffer { letters in
      letters.indices.allSatisfy { index in
        let byte = bytes[at + index]
        return letters[index] == (SMTPPathGrammar.isLetter(byte) ? byte & 0xDF : byte)
      }
    }
    if fits { at += count }
    return fits
  }
}

/// Cuts text into what an index has words for.
///
/// Western words are left to the index, which knows case and accents. Chinese, Japanese and Korean are written without
/// spaces, or (Korean) with endings on every word: each run of such characters becomes its overlapping pairs, 한국어 →
/// 한국 국어, so that any two characters that stand together are found wherever they stand.
enum SearchWords {
  /// Whether it is part of a word, for an index that splits as Unicode's letters and digits.
  static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isAlphabetic || scalar.properties.numericType != nil
  }

  /// Han, Kana and Hangul.
  static func isPaired(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x3040...0x30FF, 0x31F0...0x31FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xAC00...0xD7A3, 0xF900...0xFAFF,
      0xFF66...0xFF9F, 0x20000...0x3FFFF:
      true
    default: false
    }
  }

  /// The text with its pairs apart, for the index.
  static func segmented(_ text: String) -> String {
    var text = text
    // All bytes are looked at: many at a time is faster than one after another up to the first.
    let (isPlain, hasJamo) = text.withUTF8 { bytes in
      let found = bytes.reduce(UInt8(0)) { $0 | ($1 >= 0xE3 ? 1 : 0) | ($1 == 0xE1 ? 3 : 0) }
      return (found == 0, found & 2 != 0)
    }
    if isPlain { return text }
    if hasJamo { text = composed(text) }
    return text.withUTF8 { String(decoding: segmented($0), as: UTF8.self) }
  }

  /// The same of UTF-8. What is in no run is copied as it is.
  private static func segmented(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count * 2)
    var index = 0
    while index < bytes.count {
      guard let first = paired(bytes, at: index) else {
        output.append(bytes[index])
        index += 1
        continue
      }
      output.append(UInt8(ascii: " "))
      var (last, end) = (index..<(index + first), index + first)
      var isAlone = true
      while let length = paired(bytes, at: end) {
        output.append(contentsOf: bytes[last.lowerBound..<(end + length)])
        output.append(UInt8(ascii: " "))
        (last, end, isAlone) = (end..<(end + length), end + length, false)
      }
      if isAlone { output.append(contentsOf: bytes[last]) }
      output.append(UInt8(ascii: " "))
      index = end
    }
    return output
  }

  /// How many bytes the character that begins here has, if it is one of a run.
  private static func paired(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> Int? {
    guard index < bytes.count, bytes[index] >= 0xE3 else { return nil }
    let length = bytes[index] >= 0xF0 ? 4 : 3
    guard index + length <= bytes.count else { return nil }
    let value = bytes[(index + 1)..<(index + length)].reduce(UInt32(bytes[index]) & (length == 4 ? 7 : 15)) {
      $0 << 6 | UInt32($1 & 0x3F)
    }
    return Unicode.Scalar(value).map(isPaired) == true ? length : nil
  }

  /// Hangul in one code point a syllable (Unicode section 3.12), as Macs do not write it in file names.
  private static func composed(_ text: String) -> String {
    var output: [Unicode.Scalar] = []
    output.reserveCapacity(text.utf8.count / 2)
    for scalar in text.unicodeScalars {
      if let last = output.last, let whole = compose(last, scalar) {
        output[output.count - 1] = whole
      } else {
        output.append(scalar)
      }
    }
    return String(String.UnicodeScalarView(output))
  }

  private static func compose(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
    let (first, second) = (first.value, second.value)
    if (0x1100...0x1112).contains(first), (0x1161...0x1175).contains(second) {
      return Unicode.Scalar(0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28)
    }
    if (0xAC00...0xD7A3).contains(first), (first - 0xAC00) % 28 == 0, (0x11A8...0x11C2).contains(second) {
      return Unicode.Scalar(first + second - 0x11A7)
    }
    return nil
  }
}

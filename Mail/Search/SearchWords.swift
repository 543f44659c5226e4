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
    guard largestByte(text) >= 0xE1 else { return text }  // nothing from U+1000 on
    var output = String.UnicodeScalarView()
    var run: [Unicode.Scalar] = []
    func flush() {
      guard !run.isEmpty else { return }
      output.append(" ")
      if run.count == 1 { output.append(run[0]) }
      for index in run.indices.dropLast() {
        output.append(run[index])
        output.append(run[index + 1])
        output.append(" ")
      }
      output.append(" ")
      run.removeAll(keepingCapacity: true)
    }
    for scalar in composed(text) {
      if isPaired(scalar) {
        run.append(scalar)
      } else {
        flush()
        output.append(scalar)
      }
    }
    flush()
    return String(output)
  }

  /// Looks at all bytes: many at a time is faster than one after another up to the first that is large.
  private static func largestByte(_ text: String) -> UInt8 {
    var text = text
    return text.withUTF8 { $0.reduce(0, max) }
  }

  /// Hangul in one code point a syllable (Unicode section 3.12), as Macs do not write it in file names.
  private static func composed(_ text: String) -> [Unicode.Scalar] {
    var output: [Unicode.Scalar] = []
    output.reserveCapacity(text.utf8.count / 2)
    for scalar in text.unicodeScalars {
      if let last = output.last, let whole = compose(last, scalar) {
        output[output.count - 1] = whole
      } else {
        output.append(scalar)
      }
    }
    return output
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

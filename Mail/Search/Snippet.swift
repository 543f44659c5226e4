/// The words around the first place of a text that a query matches.
///
/// Case makes no difference here, accents do: where only those differ, there is no snippet, and lists show the
/// beginning of the message.
enum Snippet {
  /// Code points before the match, and in all.
  private static let (before, length) = (40, 200)

  /// HTML with what matches in `<mark>`; nil if nothing does.
  static func make(_ text: String, _ query: SearchQuery) -> String? {
    let words = query.terms.filter { !$0.isNegated && $0.field == .any }
      .flatMap { $0.text.split(whereSeparator: \.isWhitespace) }.map { $0.unicodeScalars.map { folded($0) } }
    guard !words.isEmpty else { return nil }
    let scalars = Array(text.unicodeScalars)
    guard let first = scalars.indices.first(where: { match(words, scalars, at: $0) > 0 }) else { return nil }
    let start = wordStart(max(0, first - before), first, scalars)
    let end = min(scalars.count, start + length)
    var html = String.UnicodeScalarView(start > 0 ? ["…"] : [])
    var (at, isBlank) = (start, false)
    while at < end {
      let size = min(match(words, scalars, at: at), end - at)
      if size > 0 {
        html.append(contentsOf: "<mark>".unicodeScalars)
        for scalar in scalars[at..<(at + size)] { append(scalar, to: &html) }
        html.append(contentsOf: "</mark>".unicodeScalars)
      } else if !scalars[at].properties.isWhitespace {
        append(scalars[at], to: &html)
      } else if !isBlank {
        html.append(" ")
      }
      isBlank = size == 0 && scalars[at].properties.isWhitespace
      at += max(1, size)
    }
    if end < scalars.count { html.append("…") }
    return String(html)
  }

  /// How many code points from `index` on one of the words takes; 0: none begins there.
  private static func match(_ words: [[Unicode.Scalar]], _ text: [Unicode.Scalar], at index: Int) -> Int {
    let first = folded(text[index])
    var longest = 0
    for word in words where word.first == first && word.count > longest && isBoundary(text, index) {
      guard index + word.count <= text.count else { continue }
      if word.indices.allSatisfy({ folded(text[index + $0]) == word[$0] }) { longest = word.count }
    }
    return longest
  }

  /// Words begin at the beginning of a word; a pair may stand anywhere.
  private static func isBoundary(_ text: [Unicode.Scalar], _ index: Int) -> Bool {
    guard index > 0, !SearchWords.isPaired(text[index]) else { return true }
    return !SearchWords.isWord(text[index - 1]) || SearchWords.isPaired(text[index - 1])
  }

  private static func wordStart(_ start: Int, _ first: Int, _ text: [Unicode.Scalar]) -> Int {
    guard start > 0 else { return 0 }
    return (start..<first).first { text[$0].properties.isWhitespace }.map { $0 + 1 } ?? start
  }

  private static func folded(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    switch scalar.value {
    case 65...90: Unicode.Scalar(scalar.value + 32) ?? scalar
    case 0..<128: scalar
    default: scalar.properties.lowercaseMapping.unicodeScalars.first ?? scalar
    }
  }

  private static func append(_ scalar: Unicode.Scalar, to html: inout String.UnicodeScalarView) {
    let name: String? =
      switch scalar {
      case "&": "&amp;"
      case "<": "&lt;"
      case ">": "&gt;"
      case "\"": "&quot;"
      case "'": "&#39;"
      default: nil
      }
    if let name { html.append(contentsOf: name.unicodeScalars) } else { html.append(scalar) }
  }
}

public import Pipeline

/// What somebody looks for: every term has to match.
///
/// ```
/// budget "third quarter" invoi* from:alice -subject:draft has:attachment after:2025-01-01 before:2026-01-01
/// ```
/// A word matches words; `"…"` words side by side; `word*` words that begin so; `-` takes matches out. `from:`, `to:`,
/// `subject:` and `filename:` look only there. `before:` and `after:` take a day in UTC: before it begins, from when it
/// begins. Case and accents make no difference. Of Chinese, Japanese and Korean, two characters and more are found
/// wherever they stand.
public struct SearchQuery: Sendable, Hashable {
  /// Where a term looks.
  public enum Field: String, Sendable, Hashable, CaseIterable {
    /// Everywhere.
    case any = ""
    /// Who wrote it.
    case from
    /// Who else has it.
    case to
    /// Its subject.
    case subject
    /// Names of its attachments.
    case filename
  }

  /// Words side by side, somewhere.
  public struct Term: Sendable, Hashable {
    /// Where.
    public let field: Field
    /// What, with white space as it was written; at least one letter or digit.
    public let text: String
    /// Whether the last word may go on.
    public let isPrefix: Bool
    /// Whether matches are taken out.
    public let isNegated: Bool
  }

  /// In order; empty: everything.
  public private(set) var terms: [Term] = []
  /// Whether it has to have an attachment, or none; nil: either.
  public private(set) var hasAttachment: Bool?
  /// Received from then on.
  public private(set) var after: Timestamp?
  /// Received before then.
  public private(set) var before: Timestamp?

  /// The longest query in bytes of UTF-8, and the most terms.
  public static let (maximumLength, maximumTerms) = (1024, 32)

  /// Why a query is none.
  public struct Mistake: Error, Sendable, Hashable {
    /// What is wrong, for the person who wrote it.
    public let message: String
  }

  /// Whether nothing is asked for.
  public var isEmpty: Bool { terms.isEmpty && hasAttachment == nil && after == nil && before == nil }

  /// Reads a query.
  public init(_ text: String) throws(Mistake) {
    guard text.utf8.count <= Self.maximumLength else {
      throw Mistake(message: "a query has at most \(Self.maximumLength) bytes")
    }
    var rest = text[...]
    var count = 0
    while let word = Self.next(&rest) {
      count += 1
      guard count <= Self.maximumTerms else { throw Mistake(message: "a query has at most \(Self.maximumTerms) terms") }
      try add(word)
    }
    // Only taken out is not asked for: of everything, some is taken out.
  }

  private struct Word {
    var name = ""
    var text = ""
    var isQuoted = false
    var isNegated = false
  }

  /// The next word: `name:text`, `name:"text"`, `"text"` or `text`, with or without a `-` before it.
  private static func next(_ rest: inout Substring) -> Word? {
    rest = rest.drop(while: \.isWhitespace)
    guard !rest.isEmpty else { return nil }
    var word = Word()
    if rest.first == "-", rest.dropFirst().first.map({ !$0.isWhitespace }) == true {
      word.isNegated = true
      rest = rest.dropFirst()
    }
    let name = rest.prefix { $0.isASCII && $0.isLetter }
    if !name.isEmpty, rest.dropFirst(name.count).first == ":" {
      word.name = name.lowercased()
      rest = rest.dropFirst(name.count + 1)
    }
    if rest.first == "\"" {
      word.isQuoted = true
      let inner = rest.dropFirst().prefix { $0 != "\"" }
      word.text = String(inner)
      rest = rest.dropFirst(inner.count + 2)
      if rest.first == "*" {
        word.text += "*"
        rest = rest.dropFirst()
      }
    } else {
      let inner = rest.prefix { !$0.isWhitespace }
      word.text = String(inner)
      rest = rest.dropFirst(inner.count)
    }
    return word
  }

  private mutating func add(_ word: Word) throws(Mistake) {
    switch word.name {
    case "has":
      guard ["attachment", "attachments"].contains(word.text.lowercased()) else {
        throw Mistake(message: "has: takes attachment, not “\(word.text)”")
      }
      hasAttachment = !word.isNegated
    case "before", "after":
      guard !word.isNegated, let day = Self.day(word.text) else {
        throw Mistake(message: "\(word.name): takes a day such as 2026-01-31, not “\(word.text)”")
      }
      if word.name == "before" { before = min(before ?? day, day) } else { after = max(after ?? day, day) }
    case "":
      addTerm(word, .any)
    default:
      if let field = Field(rawValue: word.name) {
        addTerm(word, field)
      } else {
        // A word with a colon in it, such as a time or an address of the web.
        var plain = word
        plain.text = "\(word.name):\(word.text)"
        addTerm(plain, .any)
      }
    }
  }

  private mutating func addTerm(_ word: Word, _ field: Field) {
    let isPrefix = word.text.hasSuffix("*")
    let text = isPrefix ? String(word.text.dropLast()) : word.text
    // Nothing that an index has words for.
    guard text.unicodeScalars.contains(where: { SearchWords.isWord($0) }) else { return }
    terms.append(Term(field: field, text: text, isPrefix: isPrefix, isNegated: word.isNegated))
  }

  /// The beginning of a day, `YYYY-MM-DD` or `YYYY/MM/DD`, in UTC.
  private static func day(_ text: String) -> Timestamp? {
    let parts = text.split(omittingEmptySubsequences: false) { $0 == "-" || $0 == "/" }
    guard parts.count == 3, parts[0].count == 4, parts[1...].allSatisfy({ (1...2).contains($0.count) }),
      let year = Int(parts[0]), let month = Int(parts[1]), let day = Int(parts[2])
    else { return nil }
    return MailDate.midnight(year, month, day)
  }
}

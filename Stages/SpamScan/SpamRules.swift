import YAML

/// Rules with scores, as a file has them:
///
/// ```yaml
/// rules:
///   - {name: no-date, score: 1.0, check: missing-date, reason: the message has no Date}
///   - {name: lottery, score: 2.5, in: [subject, text], words: [you have won, "lotter*"], reason: promises a prize}
///   - {name: friends, score: -5, in: from, words: ["*@example.org"], reason: from people whom we know}
/// ```
struct SpamRules: Sendable {
  /// One rule: it adds its score once, however often it matches.
  struct Rule: Sendable, Equatable {
    let name: String
    let score: Double
    let reason: String
    let test: Test
  }

  /// What a rule looks at.
  enum Test: Sendable, Equatable {
    /// Something that is computed.
    case check(SpamCheck)
    /// Any of some words.
    case words([String], in: [SpamField])
  }

  /// In order of the file.
  let rules: [Rule]

  /// A file of rules that cannot be used: each line is one mistake.
  struct Mistake: Error, CustomStringConvertible {
    let description: String
  }

  private static let keys = ["name", "score", "reason", "check", "in", "words"]
  /// The most rules.
  private static let maximum = 2000

  /// Reads the text of a file.
  ///
  /// - Throws: every mistake, with file, line and column.
  init(_ text: String, file: String) throws(Mistake) {
    let document = Document(text)
    var reader = Reader(file: file)
    for problem in document.problems { reader.complain(problem.mark, problem.message) }
    let root = document.root
    let items = root?["rules"]?.items ?? []
    if let root, root["rules"]?.items == nil {
      reader.complain(root.mark, "a file of rules begins `rules:`, and a list")
    }
    if items.count > Self.maximum { reader.complain(items[Self.maximum].mark, "\(Self.maximum) rules are allowed") }
    rules = items.prefix(Self.maximum).compactMap { reader.rule($0) }
    var names: Set<String> = []
    for (rule, item) in zip(rules, items) where !names.insert(rule.name).inserted {
      reader.complain(item.mark, "there are two rules `\(rule.name)`")
    }
    let size = rules.reduce(0) { sum, rule in
      if case .words(let words, _) = rule.test { sum + words.reduce(0) { $0 + $1.utf8.count } } else { sum }
    }
    if let root, size > PhraseMatcher.maximumSize {
      reader.complain(root.mark, "\(size) bytes of words; \(PhraseMatcher.maximumSize) are allowed")
    }
    guard reader.mistakes.isEmpty else { throw Mistake(description: reader.mistakes.joined(separator: "\n")) }
  }

  private struct Reader {
    let file: String
    var mistakes: [String] = []

    mutating func complain(_ mark: Mark, _ message: String) {
      mistakes.append("\(file):\(mark.line):\(mark.column): error: \(message)")
    }

    mutating func rule(_ node: Node) -> Rule? {
      guard let entries = node.entries else {
        complain(node.mark, "a rule is a mapping such as {name: …, score: 1.5, check: …}, found \(node.kindName)")
        return nil
      }
      for entry in entries where !SpamRules.keys.contains(entry.key) {
        complain(entry.keyMark, "a rule has no key `\(entry.key)`; it has \(SpamRules.keys.joined(separator: ", "))")
      }
      guard let name = node["name"]?.string, isName(name) else {
        complain(node["name"]?.mark ?? node.mark, "a rule needs a name of letters, digits, `-` and `_`")
        return nil
      }
      guard let score = node["score"]?.string.flatMap(Double.init), abs(score) <= 1000 else {
        complain(node["score"]?.mark ?? node.mark, "rule `\(name)` needs a score from -1000 to 1000")
        return nil
      }
      guard let test = test(node, name) else { return nil }
      return Rule(name: name, score: score, reason: node["reason"]?.string ?? name, test: test)
    }

    private func isName(_ text: String) -> Bool {
      !text.isEmpty && text.utf8.count <= 60
        && text.utf8.allSatisfy {
          (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
        }
    }

    private mutating func test(_ node: Node, _ name: String) -> Test? {
      switch (node["check"], node["words"]) {
      case (let check?, nil):
        if let known = check.string.flatMap(SpamCheck.init(rawValue:)) { return .check(known) }
        let all = SpamCheck.allCases.map(\.rawValue).joined(separator: ", ")
        complain(check.mark, "there is no check `\(check.string ?? check.kindName)`; there is \(all)")
      case (nil, let words?):
        let texts = words.items?.compactMap(\.string) ?? [words.string].compactMap { $0 }
        let names = node["in"]?.items?.compactMap(\.string) ?? [node["in"]?.string].compactMap { $0 }
        let fields = names.compactMap(SpamField.init(rawValue:))
        if fields.count != names.count {
          let all = SpamField.allCases.map(\.rawValue).joined(separator: ", ")
          complain(node["in"]?.mark ?? node.mark, "`in` takes one or more of \(all)")
        } else if texts.isEmpty || texts.contains(where: { $0.allSatisfy { $0 == "*" || $0.isWhitespace } }) {
          complain(words.mark, "`words` takes words or phrases to look for")
        } else {
          return .words(texts, in: fields.isEmpty ? [.subject, .text] : fields)
        }
      default: complain(node.mark, "rule `\(name)` needs either `check` or `words`")
      }
      return nil
    }
  }
}

/// Where words are looked for.
enum SpamField: String, Sendable, CaseIterable {
  /// `Subject`, decoded.
  case subject
  /// `From`: names and addresses.
  case from
  /// `To` and `Cc`.
  case to
  /// What there is to read.
  case text
  /// Hosts that the text leads to.
  case links
  /// Names of attachments.
  case files
}

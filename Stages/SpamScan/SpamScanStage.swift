import Glibc
import Mail
public import Pipeline

/// Scores messages by rules that people can read and change. What reaches `threshold` is marked, and `store` files it in
/// Junk; the topology may lead the outcome `spam` elsewhere.
///
/// Every message gets an `X-Spam-Status` header field that names the rules that matched; spam also an `X-Spam-Report`
/// with what they say.
public struct SpamScanStage: Stage {
  /// What a topology can set.
  public struct Options: StageOptions {
    /// What can be set.
    public static let schema = OptionSchema([
      Option("threshold", .number(-1000...1000), default: .number(5), "The score from which on a message is spam."),
      Option(
        "rules", .text, required: false,
        "The file with the rules; DATA/spam-rules.yaml by default, which is made with a set to begin with."),
      Option(
        "trust-authenticated", .boolean, default: .boolean(true),
        "Whether mail of users who authenticated is passed on unscored."),
    ])
    let threshold: Double
    let rules: String?
    let trustsAuthenticated: Bool

    /// Takes values that were checked against the schema.
    public init(_ values: OptionValues) {
      threshold = values.number("threshold")
      rules = values.text("rules")
      trustsAuthenticated = values.bool("trust-authenticated")
    }
  }

  private let options: Options
  private let scorer: SpamScorer

  /// A stage with these options; rules are in `dataFolder` unless they name a file.
  ///
  /// - Throws: an error with every mistake of the file.
  public init(_ options: Options, dataFolder: String) throws {
    self.options = options
    scorer = SpamScorer(
      try RuleFile.load(options.rules ?? "\(dataFolder)/spam-rules.yaml", canMake: options.rules == nil))
  }

  /// Adds the stage under the name `spam-scan`.
  public static func register(in registry: inout StageRegistry) {
    registry.register(
      "spam-scan", "Scores messages by rules; spam is filed in Junk.", options: Options.self, outcomes: ["spam"],
      onlyJudges: true
    ) { options, setup in .one(try SpamScanStage(options, dataFolder: setup.dataFolder)) }
  }

  /// See `Stage`.
  public func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    var message = message
    if options.trustsAuthenticated, Envelope(message).authenticated != nil { return .forward(message) }
    let found = scorer.score(SpamFacts(message, try await message.content.load()))
    let isSpam = found.score >= options.threshold
    let names = found.rules.map(\.name)
    message.annotate("spam-score", Self.text(found.score))
    message.annotate("spam-rules", names.isEmpty ? nil : names.joined(separator: " "))
    if isSpam { message.annotate(MailAnnotations.spam, "yes") }
    message.addTraceHeader(
      "X-Spam-Status",
      "\(isSpam ? "Yes" : "No"), score=\(Self.text(found.score)) required=\(Self.text(options.threshold))\r\n\ttests="
        + (names.isEmpty ? "none" : names.joined(separator: ",\r\n\t")))
    if isSpam, !names.isEmpty { message.addTraceHeader("X-Spam-Report", Self.report(found.rules)) }
    context.metrics.add("mailflow_spam_scan_total{result=\"\(isSpam ? "spam" : "ham")\"}")
    return isSpam ? .route("spam", message) : .forward(message)
  }

  /// The rules that weigh most, at most 20, a line each. Reasons that are no plain ASCII are for the file only.
  private static func report(_ rules: [SpamRules.Rule]) -> String {
    rules.sorted { abs($0.score) > abs($1.score) }.prefix(20).map { rule in
      let reason = rule.reason.utf8.allSatisfy { (32...126).contains($0) } ? rule.reason : ""
      return "\(text(rule.score)) \(rule.name) \(reason.prefix(100))"
    }.joined(separator: "\r\n\t")
  }

  /// With one digit behind the point.
  static func text(_ score: Double) -> String {
    let tenths = Int((score * 10).rounded())
    return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }
}

/// Applies rules to what is known of a message.
struct SpamScorer: Sendable {
  private let rules: SpamRules
  /// For each field the words of all rules that look there, and whose they are.
  private let matchers: [(field: SpamField, matcher: PhraseMatcher, owners: [Int])]

  init(_ rules: SpamRules) {
    self.rules = rules
    matchers = SpamField.allCases.compactMap { field in
      var (texts, owners): ([String], [Int]) = ([], [])
      for (index, rule) in rules.rules.enumerated() {
        guard case .words(let words, let fields) = rule.test, fields.contains(field) else { continue }
        texts += words
        owners += words.map { _ in index }
      }
      return texts.isEmpty ? nil : (field, PhraseMatcher(texts), owners)
    }
  }

  /// The sum, and the rules that it comes from, in order.
  func score(_ facts: SpamFacts) -> (score: Double, rules: [SpamRules.Rule]) {
    var matched: Set<Int> = []
    for (field, matcher, owners) in matchers {
      for phrase in matcher.matches(facts.folded(field)) { matched.insert(owners[phrase]) }
    }
    for (index, rule) in rules.rules.enumerated() {
      if case .check(let check) = rule.test, check.holds(facts) { matched.insert(index) }
    }
    let found = matched.sorted().map { rules.rules[$0] }
    return (found.reduce(0) { $0 + $1.score }, found)
  }
}

/// The file with the rules.
private enum RuleFile {
  /// Reads it; makes it with the built-in rules if there is none and it may.
  static func load(_ path: String, canMake: Bool) throws -> SpamRules {
    guard let text = read(path) else {
      guard canMake, errno == ENOENT else {
        throw SpamRules.Mistake(description: "cannot read the spam rules \(path): \(String(cString: strerror(errno)))")
      }
      make(path)
      return try SpamRules(SpamRules.builtIn, file: path)
    }
    return try SpamRules(text, file: path)
  }

  private static func read(_ path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 4 << 20)
    var size = 0
    while size < bytes.count {
      let count = bytes.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { Glibc.read(file, $0 + size, buffer.count - size) } ?? 0
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return nil }
      if count == 0 { break }
      size += count
    }
    return String(decoding: bytes[..<size], as: UTF8.self)
  }

  /// Another process may make it at the same time: whoever is first. Without it the built-in rules hold all the same.
  private static func make(_ path: String) {
    let temporary = "\(path).new-\(getpid())"
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { return }
    defer { close(file) }
    var text = SpamRules.builtIn + "\n"
    let isWhole = text.withUTF8 { write(file, $0.baseAddress, $0.count) == $0.count }
    if isWhole { link(temporary, path) }
    unlink(temporary)
  }
}

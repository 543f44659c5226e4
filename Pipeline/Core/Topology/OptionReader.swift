import YAML

/// Reads values out of a tree, and collects what is wrong with them: the one place that knows how each kind of option is
/// written.
struct OptionReader {
  typealias Complaint = (mark: Mark, message: String, hint: String?)
  var complaints: [Complaint] = []

  mutating func complain(_ mark: Mark, _ message: String, _ hint: String? = nil) {
    complaints.append((mark, message, hint))
  }

  /// Reads a mapping against a schema. `also` names keys that somebody else reads.
  mutating func read(_ node: Node?, _ schema: OptionSchema, in place: String, also: [String] = []) -> OptionValues {
    var values: [String: OptionValue] = [:]
    if let node, !node.isNull {
      guard let entries = node.entries else {
        complain(node.mark, "\(place) has to be a mapping, found \(node.kindName)")
        return OptionValues(schema: schema)
      }
      for entry in entries where !also.contains(entry.key) {
        guard let option = schema[entry.key] else {
          let names = schema.options.map(\.name) + also
          complain(
            entry.keyMark, "\(place) has no option `\(entry.key)`", Self.didYouMean(entry.key, among: names))
          continue
        }
        if let value = value(entry.value, option.kind, "`\(entry.key)`") { values[entry.key] = value }
      }
    }
    for option in schema.options where option.isRequired && node?[option.name] == nil {
      complain(node?.mark ?? Mark(line: 1, column: 1), "\(place) needs the option `\(option.name)`", option.help)
    }
    return OptionValues(values, schema: schema)
  }

  /// One value; nil, with a complaint, if it is not of that kind.
  mutating func value(_ node: Node, _ kind: Option.Kind, _ name: String) -> OptionValue? {
    if case .list = kind { return list(node, name).map { .list($0) } }
    guard let text = node.string else {
      complain(node.mark, "\(name) takes \(kind.words), found \(node.kindName)")
      return nil
    }
    switch kind.parse(text) {
    case .success(let value): return value
    case .failure(let failure):
      complain(node.mark, "\(name) takes \(kind.words), found `\(text.prefix(60))`", failure.hint)
      return nil
    }
  }

  /// A list of texts; a single text is a list of one.
  mutating func list(_ node: Node, _ name: String) -> [String]? {
    if let text = node.string { return node.isNull ? [] : [text] }
    guard let items = node.items else {
      complain(node.mark, "\(name) takes a list, found \(node.kindName)")
      return nil
    }
    var texts: [String] = []
    for item in items {
      if let text = item.string {
        texts.append(text)
      } else {
        complain(item.mark, "\(name) takes a list of texts, found \(item.kindName) in it")
      }
    }
    return texts
  }

  static func didYouMean(_ word: String, among names: [String]) -> String? {
    if let nearest = Suggestion.nearest(to: word, among: names) { return "did you mean `\(nearest)`?" }
    guard !names.isEmpty, names.count <= 24 else { return nil }
    return "there is " + names.map { "`\($0)`" }.joined(separator: ", ")
  }
}

extension Option.Kind {
  struct Failure: Error { let hint: String? }

  /// What it may be, in words.
  public var words: String {
    switch self {
    case .boolean: "true or false"
    case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .number(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .text: "a text"
    case .choice(let words): "one of " + words.joined(separator: ", ")
    case .duration(let range):
      "a length of time from \(DurationText.short(range.lowerBound)) to \(DurationText.short(range.upperBound))"
    case .size(let range): "a size from \(SizeText.short(range.lowerBound)) to \(SizeText.short(range.upperBound))"
    case .address: "an address HOST:PORT"
    case .list: "a list of texts"
    }
  }

  /// Reads a scalar.
  func parse(_ text: String) -> Result<OptionValue, Failure> {
    switch self {
    case .boolean:
      if text == "true" { return .success(.boolean(true)) }
      if text == "false" { return .success(.boolean(false)) }
    case .integer(let range): if let number = Int(text), range.contains(number) { return .success(.integer(number)) }
    case .number(let range):
      if let number = Double(text), range.contains(number) { return .success(.number(number)) }
    case .text, .list: return .success(.text(text))
    case .choice(let words):
      if words.contains(text) { return .success(.text(text)) }
      return .failure(Failure(hint: Suggestion.nearest(to: text, among: words).map { "did you mean `\($0)`?" }))
    case .duration(let range):
      guard let duration = DurationText.parse(text) else {
        return .failure(Failure(hint: "write a number and a unit: 250ms, 30s, 5m, 2h, 1d"))
      }
      if range.contains(duration) { return .success(.duration(duration)) }
    case .size(let range):
      guard let size = SizeText.parse(text) else {
        return .failure(Failure(hint: "write a number and a unit: 512, 64KiB, 25MiB, 1GiB"))
      }
      if range.contains(size) { return .success(.integer(size)) }
    case .address:
      if AddressText.isValid(text) { return .success(.text(text)) }
      return .failure(Failure(hint: "for example 127.0.0.1:2525 or [::1]:2525; port 0 takes a free one"))
    }
    return .failure(Failure(hint: nil))
  }
}

/// Sizes as the topology writes them.
public enum SizeText {
  private static let units: [(suffix: String, bytes: Int)] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]

  /// Reads a whole number of bytes, or with `KiB`, `MiB`, `GiB`; nil for anything else or beyond 2^50.
  public static func parse(_ text: String) -> Int? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int(digits) else { return nil }
    let rest = text.dropFirst(digits.count)
    let factor = rest.isEmpty || rest == "B" ? 1 : units.first { $0.suffix == rest }?.bytes
    guard let factor, number <= (1 << 50) / factor else { return nil }
    return number * factor
  }

  /// The shortest exact form.
  public static func short(_ bytes: Int) -> String {
    for unit in units where bytes >= unit.bytes && bytes % unit.bytes == 0 {
      return "\(bytes / unit.bytes)\(unit.suffix)"
    }
    return "\(bytes)"
  }
}

/// Addresses as the topology writes them.
enum AddressText {
  /// `HOST:PORT` or `[IPv6]:PORT` with a port up to 65535.
  static func isValid(_ text: String) -> Bool {
    guard let colon = text.lastIndex(of: ":"), UInt16(text[text.index(after: colon)...]) != nil else { return false }
    let host = text[..<colon]
    if host.hasPrefix("[") { return host.hasSuffix("]") && host.count > 2 }
    return !host.isEmpty && !host.contains(":") && !host.contains(" ")
  }
}

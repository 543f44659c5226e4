import YAML

/// Reads what `defaults` and `stages` say about a stage: settings that every stage has, and options of its own.
struct StageSettingsReader {
  private let root: Node
  private let vocabulary: Vocabulary
  private let defaults: OptionValues
  var options = OptionReader()
  private var used: Set<String> = []
  private var checked: Set<String> = []

  /// What every stage has.
  static let schema = OptionSchema([
    Option("use", .text, required: false, "which implementation; the stage's own name by default"),
    Option("partitions", .integer(1...1000), default: .integer(1), "partitions of its topics"),
    Option("retry", .list, default: .list(["10s", "1m", "10m"]), "delays between tries, one retry topic each"),
    Option(
      "give-up", .duration(.zero ... .days(365)), default: .duration(.days(1)), "how much retrying may take in all"),
    Option("timeout", .duration(.milliseconds(1) ... .days(1)), default: .duration(.seconds(30)), "for one message"),
    Option(
      "slow-after", .duration(.milliseconds(1) ... .days(1)), default: .duration(.seconds(5)),
      "when a message counts as slow; outliers that others wait for move aside before"),
    Option("slow-budget", .integer(1...10_000), default: .integer(64), "slow messages worked on at once"),
    Option("concurrency", .integer(1...10_000), default: .integer(16), "messages worked on at once"),
    Option("order", .choice(Topology.Order.allCases.map(\.rawValue)), default: .text("none"), "what stays in order"),
    Option("needs", .list, default: .list([]), "stages that a message must have passed before"),
    Option("isolate", .boolean, default: .boolean(false), "whether it gets a worker process of its own"),
  ])

  init(_ root: Node, _ vocabulary: Vocabulary) {
    self.root = root
    self.vocabulary = vocabulary
    var reader = OptionReader()
    let allowed = Self.schema.options.filter { !["use", "needs", "isolate"].contains($0.name) }
    defaults = reader.read(root["defaults"], OptionSchema(allowed), in: "`defaults`")
    options.complaints = reader.complaints
    if let stages = root["stages"], !stages.isNull, stages.entries == nil {
      options.complain(stages.mark, "`stages` has to be a mapping, found \(stages.kindName)")
    }
  }

  /// The settings of stage `name` in `flow`: those for `flow.stage` before those for `stage` before the defaults.
  mutating func settings(_ name: String, in flow: String, at mark: Mark) -> Topology.StageSettings? {
    let nodes = ["\(flow).\(name)", name].compactMap { key -> Node? in
      guard let node = root["stages"]?[key] else { return nil }
      used.insert(key)
      return node
    }
    let use = nodes.lazy.compactMap { $0["use"]?.string }.first ?? name
    guard let entry = vocabulary.stages[use] else {
      let position = nodes.lazy.compactMap { $0["use"]?.mark }.first ?? mark
      options.complain(
        position, "there is no stage `\(use)`",
        OptionReader.didYouMean(use, among: vocabulary.stages.entries.map(\.name)))
      return nil
    }
    let own = entry.options.options.map(\.name)
    let common = Self.schema.options.map(\.name)
    var reader = OptionReader()
    let merged = Self.merged(nodes)
    let values = reader.read(merged, Self.schema, in: "stage `\(name)`", also: own)
    let ownValues = reader.read(merged, entry.options, in: "stage `\(name)`", also: common)
    // A key that neither knows is complained about once, with the names of both.
    var unknown: Set<String> = []
    for complaint in reader.complaints
    where !complaint.message.contains("has no option") || unknown.insert(complaint.message).inserted {
      if checked.insert("\(complaint.mark.line):\(complaint.mark.column) \(complaint.message)").inserted {
        options.complaints.append(complaint)
      }
    }
    return make(name, use, values, ownValues, merged, mark)
  }

  private mutating func make(
    _ name: String, _ use: String, _ values: OptionValues, _ own: OptionValues, _ node: Node?, _ mark: Mark
  ) -> Topology.StageSettings {
    func pick(_ key: String) -> OptionValue? { node?[key] == nil ? defaults[key] ?? values[key] : values[key] }
    var settings = Topology.StageSettings(name, use: use, options: own)
    if case .integer(let number)? = pick("partitions") { settings.partitions = number }
    if case .duration(let duration)? = pick("give-up") { settings.giveUp = duration }
    if case .duration(let duration)? = pick("timeout") { settings.timeout = duration }
    if case .duration(let duration)? = pick("slow-after") { settings.slowAfter = duration }
    if case .integer(let number)? = pick("slow-budget") { settings.slowBudget = number }
    if case .integer(let number)? = pick("concurrency") { settings.concurrency = number }
    if case .text(let text)? = pick("order") { settings.order = Topology.Order(rawValue: text) ?? .none }
    settings.needs = values.list("needs")
    settings.isolate = values.bool("isolate")
    if case .list(let delays)? = pick("retry") {
      let position = node?["retry"]?.mark ?? root["defaults"]?["retry"]?.mark ?? mark
      settings.retry = retry(delays, position)
    }
    return settings
  }

  private mutating func retry(_ texts: [String], _ mark: Mark) -> [Duration] {
    var delays: [Duration] = []
    for text in texts {
      guard let delay = DurationText.parse(text), delay > .zero else {
        complainOnce(mark, "`retry` takes lengths of time, found `\(text.prefix(40))`", "for example [10s, 1m, 10m]")
        continue
      }
      if let last = delays.last, delay <= last {
        complainOnce(mark, "`retry` has to rise, found \(text) behind \(DurationText.short(last))", nil)
        continue
      }
      delays.append(delay)
    }
    if texts.isEmpty || texts.count > 32 {
      complainOnce(mark, "`retry` takes 1 to 32 delays, found \(texts.count)", nil)
    }
    return delays
  }

  private mutating func complainOnce(_ mark: Mark, _ message: String, _ hint: String?) {
    if checked.insert("\(mark.line):\(mark.column) \(message)").inserted { options.complain(mark, message, hint) }
  }

  /// One mapping of several, the first one's values before the others'.
  private static func merged(_ nodes: [Node]) -> Node? {
    guard let first = nodes.first else { return nil }
    guard nodes.count > 1, var entries = first.entries else { return first }
    for entry in nodes[1].entries ?? [] where !entries.contains(where: { $0.key == entry.key }) {
      entries.append(entry)
    }
    return Node(.mapping(entries), mark: first.mark)
  }

  /// Settings for stages that no flow has.
  mutating func complainAboutUnused(_ flows: [Topology.Flow]) {
    for entry in root["stages"]?.entries ?? [] where !used.contains(entry.key) {
      let names = flows.flatMap { $0.stages.map(\.name) }
      options.complain(
        entry.keyMark, "no flow has a stage `\(entry.key)`",
        Suggestion.nearest(to: entry.key, among: names).map { "did you mean `\($0)`?" })
    }
  }
}

import YAML

/// Turns the tree of a topology into the model. What it cannot make sense of it complains about, and goes on.
struct TopologyReader {
  let root: Node
  let vocabulary: Vocabulary
  var options = OptionReader()
  /// Where each stage of each flow stands in `flows`, for the rules.
  private var marks: [StageName: Mark] = [:]

  static let topKeys = [
    "version", "name", "broker", "kafka", "topics", "data", "content", "guarantee", "window", "defaults", "gateways",
    "flows", "stages", "nodes",
  ]

  init(_ root: Node, _ vocabulary: Vocabulary) {
    self.root = root
    self.vocabulary = vocabulary
  }

  mutating func read() -> Topology {
    guard let entries = root.entries else {
      options.complain(root.mark, "a topology is a mapping, found \(root.kindName)", "it begins `version: 1`")
      return Topology(name: "mail", flows: [])
    }
    let sections = vocabulary.sections.options.map(\.name)
    for entry in entries where !Self.topKeys.contains(entry.key) && !sections.contains(entry.key) {
      options.complain(
        entry.keyMark, "a topology has no key `\(entry.key)`",
        OptionReader.didYouMean(entry.key, among: Self.topKeys + sections))
    }
    checkVersion()
    var topology = Topology(name: name(root["name"], "name") ?? "mail", flows: [])
    topology.broker = broker() ?? .embedded
    topology.topicProperties = topicProperties()
    topology.data = root["data"]?.string ?? "./data"
    topology.content = options.content(root["content"]) ?? .folder
    if let node = root["guarantee"],
      case .text(let text)? = options.value(node, .choice(Topology.Guarantee.allCases.map(\.rawValue)), "`guarantee`")
    {
      topology.guarantee = Topology.Guarantee(rawValue: text) ?? .exactlyOnce
    }
    if let node = root["window"],
      case .duration(let window)? = options.value(node, .duration(.zero ... .days(3650)), "`window`")
    {
      topology.window = window
    }
    for section in vocabulary.sections.options {
      if let node = root[section.name], let value = options.value(node, section.kind, "`\(section.name)`") {
        topology.sections[section.name] = value
      } else if let value = section.defaultValue {
        topology.sections[section.name] = value
      }
    }
    topology.gateways = gateways()
    topology.flows = flows()
    var nodes = NodesReader(root, topology, vocabulary)
    topology.nodes = nodes.read()
    options.complaints += nodes.options.complaints
    var rules = TopologyRules(topology, vocabulary, marks, root)
    rules.check()
    options.complaints += rules.complaints
    return topology
  }

  private mutating func checkVersion() {
    guard let version = root["version"] else {
      options.complain(root.mark, "the topology has no `version`", "write `version: 1` at its beginning")
      return
    }
    if version.string != "1" {
      options.complain(
        version.mark, "version `\(version.string ?? version.kindName)` is not known", "this build reads version 1")
    }
  }

  /// A name that can be part of a topic's name.
  private mutating func name(_ node: Node?, _ what: String) -> String? {
    guard let node else { return nil }
    guard let text = node.string, Self.isName(text) else {
      options.complain(
        node.mark,
        "\(what) takes lower-case letters, digits and `-`, beginning with a letter, found "
          + (node.string.map { "`\($0.prefix(40))`" } ?? node.kindName))
      return nil
    }
    return text
  }

  static func isName(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, (97...122).contains(first), bytes.count <= 48 else { return false }
    return bytes.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == UInt8(ascii: "-") }
  }

  private mutating func broker() -> Topology.BrokerAddress? {
    guard let node = root["broker"] else {
      refuseKafkaProperties()
      return nil
    }
    let text = node.string ?? ""
    if text == "embedded" {
      refuseKafkaProperties()
      return .embedded
    }
    if text.hasPrefix("kafka://") {
      let servers = text.dropFirst(8).split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      if servers.allSatisfy(AddressText.isValid) {
        return .kafka(bootstrap: servers.joined(separator: ","), properties: kafkaProperties())
      }
    }
    options.complain(
      node.mark, "`broker` takes `embedded` or `kafka://HOST:PORT,…`, found `\(text.prefix(60))`",
      Suggestion.nearest(to: text, among: ["embedded"]).map { "did you mean `\($0)`?" })
    return nil
  }

  private mutating func kafkaProperties() -> [String: String] {
    guard let node = root["kafka"], !node.isNull else { return [:] }
    guard let entries = node.entries else {
      options.complain(node.mark, "`kafka` has to be a mapping of librdkafka's properties, found \(node.kindName)")
      return [:]
    }
    var properties: [String: String] = [:]
    collect(entries, "", into: &properties)
    return properties
  }

  /// `security.protocol: ssl` and, as `--set kafka.security.protocol=ssl` makes it, `security: {protocol: ssl}`.
  mutating func collect(_ entries: [Node.Entry], _ prefix: String, into properties: inout [String: String]) {
    for entry in entries {
      if let text = entry.value.string {
        properties[prefix + entry.key] = text
      } else if let inner = entry.value.entries {
        collect(inner, "\(prefix)\(entry.key).", into: &properties)
      } else {
        options.complain(entry.value.mark, "`\(prefix)\(entry.key)` takes a text or a number, found a list")
      }
    }
  }

  private mutating func refuseKafkaProperties() {
    for entry in root.entries ?? [] where entry.key == "kafka" || entry.key == "topics" {
      let use = entry.key == "kafka" ? "says how to speak to Kafka" : "says how Kafka's topics are made"
      options.complain(
        entry.keyMark, "`\(entry.key)` \(use), but `broker` is embedded", "write `broker: kafka://HOST:PORT`")
    }
  }

  private mutating func gateways() -> [Topology.Gateway] {
    guard let node = root["gateways"], !node.isNull else { return [] }
    guard let entries = node.entries else {
      options.complain(node.mark, "`gateways` has to be a mapping, found \(node.kindName)")
      return []
    }
    var gateways: [Topology.Gateway] = []
    for entry in entries {
      guard let kind = vocabulary.gateways.first(where: { $0.name == entry.key }) else {
        options.complain(
          entry.keyMark, "there is no gateway `\(entry.key)`",
          OptionReader.didYouMean(entry.key, among: vocabulary.gateways.map(\.name)))
        continue
      }
      let before = options.complaints.count
      let values = options.read(entry.value, kind.schema, in: "gateway `\(entry.key)`")
      // What the schema cannot tell is asked of options that are right by themselves.
      if options.complaints.count == before, let mistake = kind.mistake(values) {
        options.complain(entry.keyMark, "gateway `\(entry.key)`: \(mistake)")
      }
      gateways.append(Topology.Gateway(entry.key, options: values))
    }
    return gateways
  }

  // MARK: Flows

  private mutating func flows() -> [Topology.Flow] {
    guard let node = root["flows"], let entries = node.entries, !entries.isEmpty else {
      options.complain(
        root["flows"]?.mark ?? root.mark, "the topology has no flows",
        "for example `flows: {inbound: {from: smtp, stages: […]}}`")
      return []
    }
    if entries.count > 100 { options.complain(node.mark, "\(entries.count) flows; 100 are allowed") }
    var reader = StageSettingsReader(root, vocabulary)
    var flows: [Topology.Flow] = []
    for entry in entries.prefix(100) {
      let isName = Self.isName(entry.key)
      if !isName {
        options.complain(
          entry.keyMark, "the name of a flow takes lower-case letters, digits and `-`, found `\(entry.key.prefix(40))`")
      }
      if let flow = flow(entry, &reader), isName { flows.append(flow) }
    }
    reader.complainAboutUnused(flows)
    options.complaints += reader.options.complaints
    return flows
  }

  private mutating func flow(_ entry: Node.Entry, _ reader: inout StageSettingsReader) -> Topology.Flow? {
    guard let fields = entry.value.entries else {
      options.complain(entry.value.mark, "flow `\(entry.key)` has to be a mapping, found \(entry.value.kindName)")
      return nil
    }
    let known = ["from", "stages", "before-accept", "on"]
    for field in fields where !known.contains(field.key) {
      options.complain(
        field.keyMark, "flow `\(entry.key)` has no key `\(field.key)`", OptionReader.didYouMean(field.key, among: known)
      )
    }
    let sources = entry.value["from"].flatMap { options.list($0, "`from`") } ?? []
    guard let stages = entry.value["stages"], let items = stages.items, !items.isEmpty else {
      options.complain(
        entry.value["stages"]?.mark ?? entry.value.mark, "flow `\(entry.key)` has no stages",
        "for example `stages: [validate, store]`")
      return nil
    }
    var flow = Topology.Flow(entry.key, from: sources, stages: [])
    for item in items.prefix(1000) {
      guard let name = name(item, "the name of a stage") else { continue }
      if let first = marks[StageName(flow: entry.key, stage: name)] {
        options.complain(item.mark, "stage `\(name)` is already in flow `\(entry.key)`, in line \(first.line)")
        continue
      }
      marks[StageName(flow: entry.key, stage: name)] = item.mark
      if let settings = reader.settings(name, in: entry.key, at: item.mark) { flow.stages.append(settings) }
    }
    flow.beforeAccept = entry.value["before-accept"].flatMap { options.list($0, "`before-accept`") } ?? []
    for name in flow.beforeAccept where !items.contains(where: { $0.string == name }) {
      options.complain(
        entry.value["before-accept"]?.mark ?? entry.value.mark,
        "`before-accept` names `\(name)`, which is not in flow `\(entry.key)`",
        OptionReader.didYouMean(name, among: items.compactMap(\.string)))
    }
    readOutcomes(entry, &flow)
    return flow
  }

  /// `on: {STAGE.OUTCOME: TARGET}` of a flow.
  private mutating func readOutcomes(_ entry: Node.Entry, _ flow: inout Topology.Flow) {
    guard let node = entry.value["on"], !node.isNull else { return }
    guard let outcomes = node.entries else {
      options.complain(node.mark, "`on` has to be a mapping, found \(node.kindName)")
      return
    }
    let flowNames = root["flows"]?.entries?.map(\.key) ?? []
    for outcome in outcomes {
      let words = outcome.key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      guard words.count == 2, let index = flow.stages.firstIndex(where: { $0.name == words[0] }) else {
        options.complain(
          outcome.keyMark, "`on` takes STAGE.OUTCOME of a stage in this flow, found `\(outcome.key)`",
          OptionReader.didYouMean(words[0], among: flow.stages.map(\.name)))
        continue
      }
      let declared = vocabulary.stages[flow.stages[index].use]?.outcomes ?? []
      guard declared.contains(words[1]) else {
        options.complain(
          outcome.keyMark, "stage `\(words[0])` has no outcome `\(words[1])`",
          declared.isEmpty ? "it has none" : OptionReader.didYouMean(words[1], among: declared))
        continue
      }
      let stageNames = entry.value["stages"]?.items?.compactMap(\.string) ?? []
      if let target = target(outcome.value, words[0], stageNames, entry.key, flowNames) {
        flow.stages[index].on[words[1]] = target
      }
    }
  }

  private mutating func target(
    _ node: Node, _ stage: String, _ stages: [String], _ flow: String, _ flows: [String]
  ) -> Topology.Target? {
    let text = node.string ?? ""
    switch text {
    case "dead-letter": return .deadLetter
    case "drop": return .drop
    case "bounce":
      options.complain(node.mark, "no stage of this build makes bounces", "use `dead-letter`")
      return nil
    default: break
    }
    if let from = stages.firstIndex(of: stage), let to = stages.firstIndex(of: text) {
      if to > from { return .stage(text) }
      options.complain(node.mark, "`\(text)` is not behind `\(stage)`: messages would go round in a circle")
      return nil
    }
    if text != flow, flows.contains(text) { return .flow(text) }
    options.complain(
      node.mark,
      "an outcome leads to a stage further on, another flow, `dead-letter` or `drop`; found `\(text.prefix(40))`",
      Suggestion.nearest(to: text, among: stages + flows + ["dead-letter", "drop"]).map { "did you mean `\($0)`?" })
    return nil
  }
}

extension Duration {
  /// Days of 24 hours.
  static func days(_ days: Int) -> Duration { .seconds(days * 86_400) }
}

import YAML

/// Reads `nodes`, how a topology is spread over machines, and says what cannot be spread so.
struct NodesReader {
  let root: Node
  let topology: Topology
  let vocabulary: Vocabulary
  var options = OptionReader()

  init(_ root: Node, _ topology: Topology, _ vocabulary: Vocabulary) {
    self.root = root
    self.topology = topology
    self.vocabulary = vocabulary
  }

  mutating func read() -> [Topology.Node] {
    guard let node = root["nodes"], !node.isNull else { return [] }
    guard let entries = node.entries else {
      options.complain(node.mark, "`nodes` has to be a mapping, found \(node.kindName)")
      return []
    }
    if topology.broker == .embedded {
      options.complain(
        node.mark, "`nodes` spreads the topology over machines, but `broker` is embedded, on one machine",
        "write `broker: kafka://HOST:PORT,…`")
    }
    var nodes: [(node: Topology.Node, mark: Mark)] = []
    for entry in entries {
      if !TopologyReader.isName(entry.key) {
        options.complain(
          entry.keyMark, "the name of a node takes lower-case letters, digits and `-`, found `\(entry.key.prefix(40))`")
      }
      nodes.append((self.node(entry), entry.keyMark))
    }
    checkThatEverythingRuns(nodes.map(\.node), node.mark)
    checkFolder(nodes)
    if nodes.count > 1, topology.content == .folder {
      options.complain(
        node.mark,
        "content too large for a topic would be in a folder of one machine, where the other nodes cannot read it",
        "write `content: {s3: https://HOST/BUCKET, …}`")
    }
    return nodes.map(\.node)
  }

  private mutating func node(_ entry: Node.Entry) -> Topology.Node {
    let known = ["gateways", "stages"]
    if let fields = entry.value.entries {
      for field in fields where !known.contains(field.key) {
        options.complain(
          field.keyMark, "node `\(entry.key)` has no key `\(field.key)`",
          OptionReader.didYouMean(field.key, among: known))
      }
    } else {
      options.complain(
        entry.value.mark, "node `\(entry.key)` has to be a mapping, found \(entry.value.kindName)",
        "for example `{gateways: [smtp], stages: [validate]}`")
    }
    let gateways = topology.gateways.map(\.name)
    return Topology.Node(
      name: entry.key, gateways: selected(entry.value["gateways"], gateways, "gateway") { [$0] },
      stages: selected(entry.value["stages"], topology.stageNames, "stage") { $0.words })
  }

  private mutating func selected<Item>(
    _ node: Node?, _ items: [Item], _ kind: String, names: (Item) -> [String]
  ) -> [Item] {
    guard let node, let words = options.list(node, "`\(kind)s`") else { return [] }
    if words == ["all"] { return items }
    for (index, word) in words.enumerated() where !items.contains(where: { names($0).contains(word) }) {
      options.complain(
        node.items?[index].mark ?? node.mark, "the topology has no \(kind) `\(word)`",
        OptionReader.didYouMean(word, among: items.flatMap(names)))
    }
    return items.filter { !Set(words).isDisjoint(with: names($0)) }
  }

  private mutating func checkThatEverythingRuns(_ nodes: [Topology.Node], _ mark: Mark) {
    let missing =
      topology.gateways.map(\.name).filter { name in !nodes.contains { $0.gateways.contains(name) } }
      .map { "gateway `\($0)`" }
      + topology.stageNames.filter { name in !nodes.contains { $0.stages.contains(name) } }.map { "stage `\($0)`" }
    if !missing.isEmpty { options.complain(mark, "no node runs \(missing.joined(separator: ", "))") }
  }

  /// What needs the data folder runs where that is.
  private mutating func checkFolder(_ nodes: [(node: Topology.Node, mark: Mark)]) {
    let bound = nodes.map { ($0.mark, $0.node.name, topology.partsThatNeedTheFolder(of: $0.node, vocabulary)) }
      .filter { !$0.2.isEmpty }
    guard bound.count > 1 else { return }
    for (mark, name, parts) in bound.dropFirst() {
      options.complain(
        mark,
        "node `\(name)` runs \(parts.joined(separator: ", ")), which need the data folder, as does "
          + "\(bound[0].2[0]) on node `\(bound[0].1)`: a data folder is on one machine",
        "let one node run all that need it")
    }
  }
}

extension Topology {
  /// The gateways and stages of `node` that need the data folder, in words.
  public func partsThatNeedTheFolder(of node: Topology.Node, _ vocabulary: Vocabulary) -> [String] {
    func needsTheFolder(_ settings: StageSettings) -> Bool {
      vocabulary.stages[settings.use]?.needsDataFolder(settings.options) == true
    }
    let gateways = node.gateways.filter { name in
      // A gateway also runs what its flow tries before accepting.
      let flow = flows.first { $0.sources.contains(name) }
      return vocabulary.gateways.first { $0.name == name }?.needsDataFolder == true
        || flow?.beforeAccept.contains { flow?[$0].map(needsTheFolder) ?? false } == true
    }
    let stages = node.stages.filter { self[flow: $0.flow]?[$0.stage].map(needsTheFolder) ?? false }
    return gateways.map { "gateway `\($0)`" } + stages.map { "stage `\($0)`" }
  }
}

extension StageName {
  /// How a list may name it: `store` or `inbound.store`.
  public var words: [String] { [stage, description] }
}

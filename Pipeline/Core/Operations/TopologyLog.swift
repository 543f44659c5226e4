/// The topology topic, `NAME.topology`: which topology is in force, one numbered epoch a key, and which node has the
/// data folder that some parts need. Compacted: the last record of a key is what counts.
///
/// Nodes that share a broker have a file each. Were they different, a message would pass a stage on one node and skip
/// it on the next: so a node whose file differs from the epoch in force starts only when no other is live, and makes
/// the next epoch.
public struct TopologyLog: Sendable {
  /// One topology that was in force.
  public struct Epoch: Sendable, Equatable {
    /// 1 and up.
    public let number: Int
    /// What decides how messages go; see `Topology.outline`.
    public let outline: [String]
    /// The node that brought it.
    public let node: String
    /// When it did.
    public let at: Timestamp
  }

  /// What the topic says.
  public struct Entries: Sendable, Equatable {
    /// By number.
    public var epochs: [Epoch] = []
    /// The node that has the data folder; nil: none has claimed to.
    public var home: String?
    /// The broker that everything was moved to; nil: it is here.
    public var movedTo: String?
  }

  /// Why a node may not take part.
  public struct Refusal: Error, Sendable, Equatable {
    /// What speaks against it.
    public let message: String
    /// What to do.
    public let hint: String
  }

  private let topology: Topology
  private let broker: any Broker
  private var topic: String { topology.topologyTopic }
  /// What is taken for an epoch's number: there is always a next one.
  private static let numbers = 1...(1 << 53)
  private static let homeKey = "home"
  private static let movedKey = "moved-to"

  /// The log of `topology`.
  public init(_ topology: Topology, broker: any Broker) {
    self.topology = topology
    self.broker = broker
  }

  /// The topic as it should be.
  public static func specification(_ topology: Topology) -> TopicSpecification {
    TopicSpecification(topology.topologyTopic, retention: .compacted)
  }

  /// What the topic says now.
  public func entries() async throws(BrokerError) -> Entries {
    var entries = Entries()
    var epochs: [Int: Epoch] = [:]
    for marks in try await broker.watermarks([TopicPartition(topic, 0)]) {
      var next = marks.first
      while next < marks.end {
        let records = try await broker.read(marks.topicPartition, from: next, limit: 100)
        guard let last = records.last else { break }
        next = last.offset + 1
        for record in records {
          let key = String(decoding: record.key, as: UTF8.self)
          let text = String(decoding: try await record.value(), as: UTF8.self)
          // Of two that come at the same time, the first one counts.
          if key == Self.homeKey { entries.home = text.isEmpty ? nil : entries.home ?? text }
          if key == Self.movedKey { entries.movedTo = text.isEmpty ? nil : text }
          guard key.hasPrefix("epoch-"), let number = Int(key.dropFirst(6)), Self.numbers.contains(number),
            epochs[number] == nil
          else { continue }
          epochs[number] = Epoch(
            number: number, outline: text.split(separator: "\n").map(String.init),
            node: try record.headers()["mailflow-node"] ?? "", at: record.timestamp)
        }
      }
    }
    entries.epochs = epochs.values.sorted { $0.number < $1.number }
    return entries
  }

  /// Takes part as `node`, and returns the epoch in force from now on.
  ///
  /// - Parameter needsFolder: whether a part that runs here needs the data folder of the deployment.
  /// - Throws: `Refusal`, or `BrokerError`.
  public func join(as node: String, needsFolder: Bool) async throws -> Int {
    try await broker.create([Self.specification(topology)])
    let before = try await entries()
    if let place = before.movedTo {
      throw Refusal(
        message: "what was here was moved to \(place)", hint: "write `broker: \(place)`, or move it back first")
    }
    if needsFolder, let home = before.home, home != node { throw Self.elsewhere(home, node) }
    let number = try Self.epoch(
      topology.outline, after: before.epochs.last, as: node, beside: try await liveNodes().subtracting([node]))
    var records: [OutgoingRecord] = []
    if number != before.epochs.last?.number {
      records.append(record("epoch-\(number)", topology.outline.joined(separator: "\n"), node))
    }
    if needsFolder, before.home == nil { records.append(record(Self.homeKey, node, node)) }
    if records.isEmpty { return number }
    try await broker.produce(records)
    return try await confirm(number, node, needsFolder)
  }

  /// Looks whether another node was first.
  private func confirm(_ number: Int, _ node: String, _ needsFolder: Bool) async throws -> Int {
    let after = try await entries()
    if needsFolder, let home = after.home, home != node {
      // Compaction keeps the last record of a key: it has to say the same as the first.
      try await broker.produce([record(Self.homeKey, home, home)])
      throw Self.elsewhere(home, node)
    }
    if let epoch = after.epochs.first(where: { $0.number == number }), epoch.outline != topology.outline {
      try await broker.produce([record("epoch-\(number)", epoch.outline.joined(separator: "\n"), epoch.node)])
      return try Self.epoch(topology.outline, after: epoch, as: node, beside: [epoch.node])
    }
    return number
  }

  /// Notes that everything was moved to another broker, or (nil) that it is here.
  func setMoved(to place: String?) async throws(BrokerError) {
    try await broker.create([Self.specification(topology)])
    try await broker.produce([record(Self.movedKey, place ?? "", "")])
  }

  private func record(_ key: String, _ value: String, _ node: String) -> OutgoingRecord {
    var headers = Headers()
    headers.set("mailflow-node", node.utf8)
    return OutgoingRecord(topic: topic, partition: 0, key: Bytes(key), headers: headers, value: .bytes(Bytes(value)))
  }

  /// Nodes with a member in the group of any stage.
  public func liveNodes() async throws(BrokerError) -> Set<String> {
    var nodes: Set<String> = []
    for flow in topology.flows {
      for stage in flow.stages {
        let topics = topology.topics(flow.name, stage)
        for case let member? in try await broker.members(group: topics.group, in: [topics.work]).values {
          nodes.insert(Self.node(of: member))
        }
      }
    }
    return nodes
  }

  /// The node of a member: members are called `NODE.PROCESS`.
  public static func node(of member: String) -> String { String(member.prefix { $0 != "." }) }

  /// The epoch that a node with this outline takes part in.
  static func epoch(
    _ outline: [String], after last: Epoch?, as node: String, beside live: Set<String>
  ) throws(Refusal) -> Int {
    guard let last else { return 1 }
    if last.outline == outline { return last.number }
    guard live.isEmpty else {
      let here = outline.filter { !last.outline.contains($0) }
      let there = last.outline.filter { !outline.contains($0) }
      let differences = (there.map { "- \($0)" } + here.map { "+ \($0)" }).prefix(12).joined(separator: "\n  ")
      throw Refusal(
        message: "the topology differs from epoch \(last.number), which \(live.sorted().joined(separator: ", ")) "
          + "\(live.count == 1 ? "runs" : "run"):\n  \(differences)",
        hint: "use the same file on every node, or stop the others before this one starts with another")
    }
    return last.number + 1
  }

  private static func elsewhere(_ home: String, _ node: String) -> Refusal {
    Refusal(
      message: "what runs here needs the data folder of the deployment, which is on node \(home); this is \(node)",
      hint: "start it there, or run only what needs no folder here; if that node is gone for good and its folder was "
        + "brought here, its file `node` belongs to it")
  }
}

extension Topology {
  /// Where epochs are kept.
  public var topologyTopic: String { "\(name).topology" }

  /// What has to be the same on every node, a line each: which stages a message passes, in which order, and by which
  /// topics. How many it works on at once, and a stage's own options, may differ from machine to machine.
  public var outline: [String] {
    var lines = ["guarantee \(guarantee.rawValue)"]
    for flow in flows {
      lines.append("flow \(flow.name) from \(flow.sources.joined(separator: " "))")
      for (index, stage) in flow.stages.enumerated() {
        var words = ["stage \(flow.name) \(index + 1) \(stage.name)"]
        if stage.use != stage.name { words.append("use \(stage.use)") }
        words.append("partitions \(stage.partitions)")
        words.append("retry \(stage.retry.map(DurationText.short).joined(separator: " "))")
        words.append("order \(stage.order.rawValue)")
        if !stage.needs.isEmpty { words.append("needs \(stage.needs.joined(separator: " "))") }
        for (outcome, target) in stage.on.sorted(by: { $0.key < $1.key }) {
          words.append("on \(outcome) to \(target.text)")
        }
        lines.append(words.joined(separator: ", "))
      }
    }
    return lines
  }
}

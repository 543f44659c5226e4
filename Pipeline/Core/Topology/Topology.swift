/// A deployment: its flows and stages, checked and with every default filled in.
///
/// Read from `topology.yaml` by `TopologyParser`; a value of this type is free of the mistakes that can be found
/// without running it.
public struct Topology: Sendable, Hashable {
  /// Prefix of every topic.
  public var name: String
  /// Where topics live.
  public var broker: BrokerAddress
  /// What Kafka's topics are made with: `replication`, and any of Kafka's topic properties.
  public var topicProperties: [String: String] = [:]
  /// The data folder, as written (relative to the working directory).
  public var data: String
  /// Where large content is kept.
  public var content = ContentLocation.folder
  /// What may be repeated after a crash.
  public var guarantee: Guarantee
  /// How long settled records are kept for time travel.
  public var window: Duration
  /// Gateways that run, in order of the file.
  public var gateways: [Gateway]
  /// In order of the file.
  public var flows: [Flow]
  /// How it is spread over machines, in order of the file; empty: every machine runs what it is told to.
  public var nodes: [Node] = []
  /// Top-level sections that the application has registered (for mail: `domains`), by name.
  public var sections: [String: OptionValue]

  /// What is promised between topics.
  public enum Guarantee: String, Sendable, Hashable, CaseIterable {
    /// A hop is a transaction.
    case exactlyOnce = "exactly-once"
    /// A hop may be repeated after a crash.
    case atLeastOnce = "at-least-once"
  }

  /// Where topics live.
  public enum BrokerAddress: Sendable, Hashable {
    /// In SQLite, in the data folder.
    case embedded
    /// In Kafka: `host:port`, comma-separated; any properties of librdkafka.
    case kafka(bootstrap: String, properties: [String: String])
  }

  /// What puts messages in, or lets people read them.
  public struct Gateway: Sendable, Hashable {
    /// Its name and kind, such as `smtp`.
    public var name: String
    /// Checked against the gateway's schema.
    public var options: OptionValues
  }

  /// What a kind of machine runs. As many as one likes may run it, unless a part of it needs the data folder.
  public struct Node: Sendable, Hashable {
    /// Its name, for `run --node`.
    public var name: String
    /// Gateways, in the topology's order.
    public var gateways: [String]
    /// Stages, flow by flow.
    public var stages: [StageName]

    /// What a kind of machine runs.
    public init(name: String, gateways: [String], stages: [StageName]) {
      self.name = name
      self.gateways = gateways
      self.stages = stages
    }
  }

  /// A source and an ordered list of stages.
  public struct Flow: Sendable, Hashable {
    /// Its name.
    public var name: String
    /// Gateways that feed it.
    public var sources: [String]
    /// In the order in which a message passes them.
    public var stages: [StageSettings]
    /// Stages that are also tried while the client waits.
    public var beforeAccept: [String]
    /// The stage of that name.
    public subscript(stage: String) -> StageSettings? { stages.first { $0.name == stage } }
  }

  /// A stage in a flow.
  public struct StageSettings: Sendable, Hashable {
    /// Its identity within the flow.
    public var name: String
    /// Which implementation it is.
    public var use: String
    /// Partitions of its work topic.
    public var partitions: Int
    /// One retry topic each; the last delay repeats until `giveUp`.
    public var retry: [Duration]
    /// How much retrying may take in all.
    public var giveUp: Duration
    /// For one message.
    public var timeout: Duration
    /// When a message that is still being worked on counts as slow: against `slowBudget` instead of `concurrency`. Its
    /// record has moved to the slow lane by then, and sooner if it takes far longer than usual and others wait for it.
    public var slowAfter: Duration
    /// How many slow messages are worked on at once, beside `concurrency`.
    public var slowBudget: Int
    /// How many messages are worked on at once.
    public var concurrency: Int
    /// What stays in order.
    public var order: Order
    /// Stages that a message must have passed before.
    public var needs: [String]
    /// Where named outcomes lead.
    public var on: [String: Target]
    /// Whether it gets a worker process of its own.
    public var isolate: Bool
    /// Checked against the implementation's schema.
    public var options: OptionValues
  }

  /// What stays in order.
  public enum Order: String, Sendable, Hashable, CaseIterable {
    /// Nothing.
    case none
    /// Messages of one key, as long as none fails.
    case key
    /// The whole partition, failing messages included.
    case strict
  }

  /// Where a named outcome leads.
  public enum Target: Sendable, Hashable {
    /// A stage further on in the same flow; those between are skipped.
    case stage(String)
    /// Another flow: a new message there.
    case flow(String)
    /// A dead letter.
    case deadLetter
    /// Nowhere.
    case drop
    /// Back to the sender.
    case bounce
  }

  /// A deployment made in code, with the defaults of the file.
  public init(
    name: String, broker: BrokerAddress = .embedded, data: String = "./data", guarantee: Guarantee = .exactlyOnce,
    window: Duration = .seconds(3600), gateways: [Gateway] = [], flows: [Flow], sections: [String: OptionValue] = [:]
  ) {
    self.name = name
    self.broker = broker
    self.data = data
    self.guarantee = guarantee
    self.window = window
    self.gateways = gateways
    self.flows = flows
    self.sections = sections
  }

  /// The flow of that name.
  public subscript(flow name: String) -> Flow? { flows.first { $0.name == name } }

  /// Every stage, flow by flow.
  public var stageNames: [StageName] {
    flows.flatMap { flow in flow.stages.map { StageName(flow: flow.name, stage: $0.name) } }
  }
}

extension Topology {
  /// Names of the topics of one stage.
  public struct StageTopics: Sendable, Hashable {
    /// Of fresh work.
    public let work: String
    /// Of messages that take long.
    public let slow: String
    /// Of messages that a process died on.
    public let suspect: String
    /// Of messages that were given up.
    public let dead: String
    /// Of messages that wait for another try: one a delay, shortest first.
    public let retry: [(delay: Duration, topic: String)]
    /// The consumer group, named like the work topic.
    public var group: String { work }
    /// What a worker consumes, in the order in which it joins.
    public var consumed: [String] { [work, slow] + retry.map(\.topic) }

    /// The same names.
    public static func == (left: StageTopics, right: StageTopics) -> Bool {
      left.work == right.work && left.retry.map(\.topic) == right.retry.map(\.topic)
    }
    /// By name.
    public func hash(into hasher: inout Hasher) { hasher.combine(work) }
  }

  /// The topics of `stage` in `flow`.
  public func topics(_ flow: String, _ stage: StageSettings) -> StageTopics {
    let work = "\(name).\(flow).\(stage.name)"
    return StageTopics(
      work: work, slow: "\(work).slow", suspect: "\(work).suspect", dead: "\(work).dead",
      retry: stage.retry.map { ($0, "\(work).retry.\(DurationText.short($0))") })
  }

  /// Where the timelines of ended messages are kept.
  public var traceTopic: String { "\(name).trace" }
  /// What stages tell gateways; one partition, so that a client that was away goes on behind one offset.
  public var eventsTopic: String { "\(name).events" }
}

/// Lengths of time as the topology writes them.
public enum DurationText {
  private static let units: [(suffix: String, milliseconds: Int64)] = [
    ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
  ]

  /// The shortest exact form, such as `90s` → `90s`, `60s` → `1m`.
  public static func short(_ duration: Duration) -> String {
    let milliseconds = max(0, duration.milliseconds)
    for unit in units where milliseconds >= unit.milliseconds && milliseconds % unit.milliseconds == 0 {
      return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
    }
    return "0s"
  }

  /// Reads a whole number and a unit (`ms`, `s`, `m`, `h`, `d`); nil for anything else or beyond 10,000 days.
  public static func parse(_ text: String) -> Duration? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int64(digits), let unit = units.first(where: { $0.suffix == text.dropFirst(digits.count) }),
      number <= 864_000_000_000 / unit.milliseconds
    else { return nil }
    return .milliseconds(number * unit.milliseconds)
  }
}

/// Gives stages the partitions that a topology says, where their topics have fewer.
///
/// All topics of a stage are grown together: partition n of each belongs to the same member.
public struct Growth: Sendable {
  /// A stage whose topics have too few partitions.
  public struct Step: Sendable, Equatable {
    /// The stage.
    public let stage: StageName
    /// Its topics that have fewer, with how many they have, by name.
    public let topics: [TopicDescription]
    /// How many they get.
    public let partitions: Int
    /// What stays in order in the stage.
    public let order: Topology.Order
    /// Records that wait in its work, retry and slow topics. They stay where they are, and new ones of the same key may
    /// go to another partition, and be worked on before them.
    public let waiting: Int64

    /// Whether an order that the stage keeps may be broken by it.
    public var mayOvertake: Bool { order != .none && waiting > 0 }
  }

  private let topology: Topology
  private let broker: any Broker
  private let clock: any PipelineClock

  /// For `topology`, of which nothing may run.
  public init(_ topology: Topology, broker: any Broker, clock: any PipelineClock) {
    self.topology = topology
    self.broker = broker
    self.clock = clock
  }

  /// What has to be done, in the topology's order; empty if every stage has what the topology says.
  ///
  /// - Parameter wanted: this stage only.
  /// - Throws: `.mismatch` if a topic has more partitions than the topology says.
  public func plan(_ wanted: StageName? = nil) async throws(BrokerError) -> [Step] {
    let existing = try await broker.topics(prefix: "\(topology.name).")
    let leftovers = Leftovers(topology, existing: existing)
    let lag = try await LagReport.take(topology, broker: broker, clock: clock)
    var steps: [Step] = []
    for flow in topology.flows {
      for stage in flow.stages {
        let name = StageName(flow: flow.name, stage: stage.name)
        guard wanted == nil || wanted == name else { continue }
        let topics = topology.topics(flow.name, stage)
        let names = Set(topics.consumed + [topics.suspect, topics.dead] + leftovers.retryTopics(of: name))
        let found = existing.filter { names.contains($0.name) }
        if let more = found.first(where: { $0.partitions > stage.partitions }) {
          throw BrokerError(
            .mismatch,
            "topic \(more.name) has \(more.partitions) partitions, and stage \(name) should have \(stage.partitions)",
            hint: "a topic never gets fewer: write `partitions: \(more.partitions)`")
        }
        let fewer = found.filter { $0.partitions < stage.partitions }
        guard !fewer.isEmpty else { continue }
        let waiting = lag.rows.filter { $0.stage == name && [.ready, .retry, .slow].contains($0.kind) }
        steps.append(
          Step(
            stage: name, topics: fewer, partitions: stage.partitions, order: stage.order,
            waiting: waiting.reduce(0) { $0 + $1.records }))
      }
    }
    return steps
  }

  /// Does it. A run that was interrupted is gone on with by the next.
  public func run(_ steps: [Step]) async throws(BrokerError) {
    for step in steps { try await broker.grow(step.topics.map(\.name), to: step.partitions) }
  }
}

import Synchronization

/// Runs the stages of a topology in this process: creates their topics, makes the stages, runs a `StageRunner` for each.
public final class PipelineService: Sendable {
  private let topology: Topology
  private let environment: StageRunner.Environment
  private let runners: [StageRunner]

  /// Which part of a topology a process runs.
  public struct Part: Sendable {
    /// Whether to run this stage.
    public var includes: @Sendable (StageName) -> Bool
    /// Messages that were in hand when the process before died on its own: by consumer group.
    public var suspects: [String: Set<MessageID>]
    /// For the process that tries suspects alone: what each has done before (`StageRunner.Strikes`), by consumer group.
    public var alone: [String: [MessageID: Int]]?

    /// Everything, nothing suspect.
    public init(
      includes: @escaping @Sendable (StageName) -> Bool = { _ in true }, suspects: [String: Set<MessageID>] = [:],
      alone: [String: [MessageID: Int]]? = nil
    ) {
      self.includes = includes
      self.suspects = suspects
      self.alone = alone
    }
  }

  private let draining = Signal()

  /// Creates the topology's topics and makes its stages; nothing runs yet.
  ///
  /// - Throws: `BrokerError`, or whatever a stage throws when it is made.
  public init(
    _ topology: Topology, stages: StageRegistry, part: Part = Part(), dataFolder: String, random: any RandomSource,
    environment: StageRunner.Environment
  ) async throws {
    var environment = environment
    environment.random = random
    self.topology = topology
    self.environment = environment
    try await environment.broker.create(Self.specifications(topology))
    let existing = try await environment.broker.topics(prefix: "\(topology.name).")
    let leftovers = Leftovers(topology, existing: existing)
    var runners: [StageRunner] = []
    let gate = Gate()
    for flow in topology.flows {
      for settings in flow.stages {
        let name = StageName(flow: flow.name, stage: settings.name)
        guard part.includes(name), let entry = stages[settings.use] else { continue }
        let setup = StageSetup(
          name: name, dataFolder: dataFolder, clock: environment.clock, random: random,
          contentStore: environment.contentStore)
        let group = topology.topics(flow.name, settings).group
        let mode: StageRunner.Mode =
          if let alone = part.alone {
            .alone(strikes: alone[group] ?? [:], gate: gate)
          } else {
            .normal(suspects: part.suspects[group] ?? [])
          }
        runners.append(
          StageRunner(
            try entry.make(settings.options, setup), settings: settings, flow: flow.name, topology: topology,
            readsContent: entry.readsContent, leftovers: leftovers.retryTopics(of: name), mode: mode,
            environment: environment))
      }
    }
    if part.alone == nil {
      for removed in leftovers.stages where part.includes(removed.name) {
        environment.log.write(.info, "draining a removed stage", ("stage", removed.name.description))
        runners.append(
          StageRunner(
            .one(PassingStage()), settings: removed.settings, flow: removed.name.flow, topology: topology,
            readsContent: false, mode: .removed, environment: environment))
      }
    }
    self.runners = runners
  }

  /// The stages that run here.
  public var stages: [StageName] { runners.map(\.name) }

  /// Runs until `drain`.
  public func run() async {
    if runners.isEmpty { return await draining.wait() }
    await withDiscardingTaskGroup { group in
      for runner in runners { group.addTask { await runner.run() } }
    }
  }

  /// Pulls nothing more; `run` returns once what is in hand is settled.
  public func drain() {
    draining.raise()
    runners.forEach { $0.drain() }
  }

  /// Gives up what is still being worked on; it will be delivered again.
  public func abandon() { runners.forEach { $0.abandon() } }

  // MARK: Topics

  /// How long the timeline of an ended message is kept.
  public static let traceRetention = Duration.seconds(14 * 86_400)

  /// How long a gateway can catch up with events.
  public static let eventRetention = Duration.seconds(7 * 86_400)

  /// Every topic of a topology.
  public static func specifications(_ topology: Topology) -> [TopicSpecification] {
    var result = [
      TopicSpecification(topology.traceTopic, retention: .time(traceRetention)),
      TopicSpecification(topology.eventsTopic, retention: .time(eventRetention)), TopologyLog.specification(topology),
    ]
    for flow in topology.flows {
      for stage in flow.stages {
        let topics = topology.topics(flow.name, stage)
        for topic in topics.consumed + [topics.suspect, topics.dead] {
          result.append(
            TopicSpecification(
              topic, partitions: stage.partitions, retention: .untilSettled(window: topology.window)))
        }
      }
    }
    return result
  }
}

/// Stands for a stage that was removed; its runner forwards everything before it gets here.
private struct PassingStage: Stage {
  func process(_ message: Message, _ context: StageContext) async throws -> Outcome { .forward(message) }
}

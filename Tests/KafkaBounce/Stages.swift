import Pipeline

/// What all processes of a run agree on.
struct Plan: Sendable {
  let servers: String
  let name: String
  let seed: UInt64

  static let source = "feeder"
  static let flow = "main"
  static let partitions = 4
  static let stages = ["enter", "slow", "order", "part", "leave"]

  var topology: Topology {
    Topology(
      name: name, window: .seconds(86_400),
      flows: [Topology.Flow(Self.flow, from: [Self.source], stages: Self.stages.map(settings))])
  }

  private func settings(_ stage: String) -> Topology.StageSettings {
    var settings = Topology.StageSettings(stage)
    settings.partitions = Self.partitions
    settings.retry = [.seconds(1)]
    settings.slowAfter = .milliseconds(500)
    settings.slowBudget = 8
    settings.concurrency = 32
    settings.order = stage == "order" ? .key : .none
    return settings
  }

  var registry: StageRegistry {
    var registry = StageRegistry()
    for stage in Self.stages {
      registry.register(stage, "Does what the seed says.", options: NoOptions.self) { _, _ in
        .one(SeededStage(plan: self, name: stage))
      }
    }
    return registry
  }
}

/// Does to a message what the seed says.
struct SeededStage: Stage {
  let plan: Plan
  let name: String

  /// When `order` worked on it, in nanoseconds of the machine's clock: "begin end".
  static let worked = "worked"

  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    let began = monotonicNanoseconds()
    guard let number = message.attribute("number").flatMap({ Int($0) }) else {
      throw StageError.permanent("unknown", "no number")
    }
    let fate = Fate(number, seed: plan.seed)
    if fate.fails.contains(name), message.failures == 0 { throw StageError.transient("first", "the first attempt") }
    if fate.deadAt == name { throw StageError.permanent("fate", "meant to die here") }
    var message = message
    switch name {
    case "enter": message.key = fate.key
    case "slow": if fate.pause > .zero { try await context.clock.sleep(for: fate.pause) }
    case "order":
      try await context.clock.sleep(for: .milliseconds(1))
      message.annotate(Self.worked, "\(began) \(monotonicNanoseconds())")
    case "part":
      switch fate.end {
      case .drop: return .drop(reason: "fate")
      case .split(let count):
        return .split((0..<count).map { Part(name: Fate.partName($0), key: fate.key) }, .behind)
      default: break
      }
    default:
      if try await message.content.load().text != fate.content {
        throw StageError.permanent("content", "number \(number) is not what was sent")
      }
    }
    return .forward(message)
  }
}

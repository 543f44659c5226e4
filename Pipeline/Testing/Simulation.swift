import EmbeddedBroker
public import Pipeline
import Synchronization

/// A whole run of a pipeline under crashes, slow, failing and hanging stages and an order that changes in flight, all of
/// it chosen by a seed; and the check of what must hold at its end.
///
/// The runtime under test is the real one: `PipelineService`, `StageRunner`, `Intake`, on a real broker's code. Only
/// time, randomness and scheduling are the simulation's.
public struct Simulation: Sendable {
  /// What is simulated.
  public struct Configuration: Sendable {
    /// Chooses everything.
    public var seed: UInt64
    /// Messages that are sent in.
    public var messages = 12
    /// Times that the process is killed between two steps.
    public var crashes = 3
    /// A defect that the run should find.
    public var defect = MortalBroker.Defect.none
    /// Makes the broker that outlives the crashes.
    public var broker: @Sendable (any PipelineClock) async throws -> any Broker
    /// What a process that starts sees of that broker.
    public var connect: @Sendable (any Broker) throws -> any Broker = { $0 }

    /// A run of `seed` on the broker that `broker` makes.
    public init(seed: UInt64, broker: @escaping @Sendable (any PipelineClock) async throws -> any Broker) {
      self.seed = seed
      self.broker = broker
    }

    /// A run of `seed` on the embedded broker's own code, in a database in memory.
    public static func embedded(seed: UInt64) -> Configuration {
      var configuration = Configuration(seed: seed) { clock in
        try EmbeddedBroker.inMemory(clock: clock) { await Task.yield() }
      }
      configuration.connect = { broker in try (broker as? EmbeddedBroker)?.sibling() ?? broker }
      return configuration
    }
  }

  /// What came out.
  public struct Report: Sendable, Equatable {
    /// The seed that repeats the run.
    public let seed: UInt64
    /// What should hold and did not; empty: all well.
    public let violations: [String]
    /// Jobs that ran.
    public let steps: Int
    /// How often the seed chose among several ready jobs.
    public let choices: Int
    /// A hash of the schedule and of what happened: equal for equal runs, in any process.
    public let fingerprint: UInt64
    /// Times that the process was killed.
    public let crashes: Int
    /// Messages accepted, and what became of them.
    public let accepted: Int
    /// Messages that passed every stage.
    public let finished: Int
    /// Messages that became dead letters.
    public let dead: Int
    /// What happened, a line each: the virtual time in milliseconds, the stage, the message's number; crashes.
    public let log: [String]
  }

  /// Runs until every accepted message has ended, or `stepLimit` is reached.
  public static func run(_ configuration: Configuration, stepLimit: Int = 400_000) -> Report {
    let world = World(configuration)
    let executor = SeededExecutor(seed: configuration.seed)
    let ended = Mutex(false)
    let root = Task(executorPreference: executor) {
      await world.live()
      ended.withLock { $0 = true }
    }
    var chance = SplitMix(seed: configuration.seed ^ 0x5EED)
    var crashAt = (0..<configuration.crashes).map { _ in Int.random(in: 50...4000, using: &chance) }.sorted()
    var isStuck = false
    while !ended.withLock({ $0 }) {
      if let next = crashAt.first, executor.steps >= next {
        crashAt.removeFirst()
        world.crash()
      }
      if executor.step() { continue }
      if executor.steps > stepLimit || !world.clock.advanceToNext() {
        isStuck = true
        break
      }
    }
    if isStuck {
      root.cancel()
      world.giveUp()
    }
    if executor.strays > 0 { world.note("\(executor.strays) jobs came from another thread") }
    return world.report(
      steps: executor.steps, choices: executor.choices, schedule: executor.fingerprint, isStuck: isStuck)
  }
}

/// Everything of one run.
private final class World: Sendable {
  let configuration: Simulation.Configuration
  let clock = ManualClock()
  private let random: SeededRandom
  private let topologies: [Topology]

  struct State {
    var process: MortalBroker?
    var connections: [any Broker] = []
    var service: PipelineService?
    var crashes = 0
    var accepted: [MessageID] = []
    var isSent = false
    var violations: [String] = []
    var log: [String] = []
    var ended: [MessageID: [String]] = [:]
    var tries: [String: Int] = [:]
    var order = OrderWatch()
    var topology = 0
    /// The verdict can be spoken: nothing is started again.
    var isOver = false
  }
  let state = Mutex(State())

  init(_ configuration: Simulation.Configuration) {
    self.configuration = configuration
    random = SeededRandom(seed: configuration.seed ^ 0xD1CE)
    topologies = Self.topologies()
  }

  /// The order changes at a crash: swapped, one inserted in front, one removed.
  private static func topologies() -> [Topology] {
    [["a", "b", "c"], ["b", "a", "c"], ["d", "a", "b", "c"], ["a", "c"]].map { names in
      Topology(
        name: "sim", window: .zero,
        flows: [
          Topology.Flow("main", from: ["test"], stages: names.map(stage))
        ])
    }
  }

  private static func stage(_ name: String) -> Topology.StageSettings {
    var stage = Topology.StageSettings(name, use: "simulated")
    stage.partitions = 2
    stage.retry = [.seconds(1), .seconds(5)]
    stage.giveUp = .seconds(20)
    stage.timeout = .seconds(10)
    stage.slowAfter = .seconds(1)
    stage.slowBudget = 2
    stage.concurrency = 3
    stage.order = order(of: name)
    stage.needs = name == "c" ? ["a"] : []
    return stage
  }

  static func order(of stage: String) -> Topology.Order {
    switch stage {
    case "b": .key
    case "c": .strict
    default: .none
    }
  }

  // MARK: Life

  func live() async {
    let broker: any Broker
    do { broker = try await configuration.broker(clock) } catch {
      state.withLock { $0.violations.append("no broker: \(error)") }
      return
    }
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.send(broker) }
      group.addTask { await self.processes(broker) }
      group.addTask { await self.watch(broker) }
    }
    // Members of dead processes stay in their groups to the end; nobody else would let go of them.
    for connection in state.withLock({ $0.connections }) { await connection.close() }
  }

  /// Kills the process between two steps; the next one may run another topology.
  func crash() {
    let process = state.withLock { state -> MortalBroker? in
      guard !state.isOver, let process = state.process else { return nil }
      state.crashes += 1
      state.topology = Int(random.next() % UInt64(topologies.count))
      state.log.append("crash at \(clock.now.milliseconds), topology \(state.topology)")
      return process
    }
    process?.kill()
  }

  private func processes(_ broker: any Broker) async {
    while !isOver {
      guard let connection = try? configuration.connect(broker) else { return }
      let process = MortalBroker(
        connection, defect: configuration.defect,
        beforeDelivery: { _ in
          // Most at once; some late, as from a broker on the network.
          guard self.random.next() % 8 == 0 else { return }
          try? await self.clock.sleep(for: .milliseconds(Int64(self.random.next() % 200)))
        }, onDelivery: { self.delivered($0) })
      let topology = state.withLock { state in
        state.process = process
        state.connections.append(connection)
        state.order = OrderWatch()
        return topologies[state.topology]
      }
      var registry = StageRegistry()
      registry.register("simulated", "A simulated stage.", options: NoOptions.self) { _, setup in
        .one(SimulatedStage(world: self, process: process, name: setup.name.stage))
      }
      let environment = StageRunner.Environment(
        broker: process, clock: clock, log: Log(clock: clock, minimum: .error) { _ in }, instance: "worker")
      do {
        let service = try await PipelineService(
          topology, stages: registry, dataFolder: "", random: random, environment: environment)
        state.withLock { $0.service = service }
        await service.run()
      } catch {
        if process.isAlive { state.withLock { $0.violations.append("cannot start: \(error)") } }
      }
    }
  }

  private func delivered(_ record: Record) {
    let words = record.topicPartition.topic.split(separator: ".")
    guard words.count == 3, let stage = words.last.map(String.init) else { return }  // a work topic
    state.withLock { $0.order.delivered(record, to: stage, order: Self.order(of: stage)) }
  }

  private func send(_ broker: any Broker) async {
    for number in 0..<configuration.messages {
      try? await clock.sleep(for: .milliseconds(Int64(random.next() % 200)))
      guard
        let intake = Intake(
          source: "test", topology: topologies[0], broker: broker, clock: clock, random: random, contentStore: nil)
      else { return }
      let size = random.next() % 2 == 0 ? 20 : 2000
      let content = Bytes(Array(repeating: UInt8(truncatingIfNeeded: number), count: size))
      let id = try? await intake.accept(
        content: content, contentType: "text/plain", source: "test", attributes: [("number", "\(number)")])
      if let id { state.withLock { $0.accepted.append(id) } }
    }
    state.withLock { $0.isSent = true }
  }

  /// Looks at the topics from outside, until every accepted message has ended.
  private func watch(_ broker: any Broker) async {
    while true {
      try? await clock.sleep(for: .milliseconds(500))
      let count = (try? await endingCount(broker)) ?? 0
      guard state.withLock({ $0.isSent && count >= $0.accepted.count }) else { continue }
      let ended = (try? await endings(broker)) ?? [:]
      let isOver = state.withLock { state in
        state.ended = ended
        return state.accepted.allSatisfy { ended[$0] != nil }
      }
      if isOver { break }
    }
    // What must not come may still come: give it time.
    try? await clock.sleep(for: .seconds(30))
    let ended = (try? await endings(broker)) ?? [:]
    let service = state.withLock { state in
      state.ended = ended
      state.isSent = true
      state.isOver = true
      return state.service
    }
    service?.drain()
    state.withLock { $0.process }?.kill()
  }

  func note(_ violation: String) { state.withLock { $0.violations.append(violation) } }

  /// The run is stuck: what has ended so far is the verdict.
  func giveUp() { state.withLock { $0.isOver = true } }

  private var isOver: Bool { state.withLock { $0.isOver } }

  /// How many records tell of an end.
  private func endingCount(_ broker: any Broker) async throws -> Int64 {
    let topics = try await broker.topics(prefix: "sim.").filter { $0.name.hasSuffix(".dead") || $0.name == "sim.trace" }
    return try await broker.watermarks(topics.flatMap(\.topicPartitions)).reduce(0) { $0 + $1.end - $1.first }
  }

  /// How each message ended: its stages for one that passed, the reason for a dead letter.
  private func endings(_ broker: any Broker) async throws -> [MessageID: [String]] {
    var result: [MessageID: [String]] = [:]
    for topic in try await broker.topics(prefix: "sim.") {
      let isDead = topic.name.hasSuffix(".dead")
      guard isDead || topic.name == "sim.trace" else { continue }
      for partition in topic.topicPartitions {
        guard let ends = try await broker.watermarks([partition]).first, ends.end > ends.first else { continue }
        for record in try await broker.read(partition, from: ends.first, limit: 10_000) {
          let message: Message
          do { message = try MessageCodec.decode(record, store: nil) } catch {
            result[MessageID(at: clock.now, random: random), default: []].append("malformed")
            continue
          }
          result[message.id, default: []].append(isDead ? "dead" : message.done.joined(separator: ","))
        }
      }
    }
    return result
  }

  // MARK: Verdict

  func report(steps: Int, choices: Int, schedule: UInt64, isStuck: Bool) -> Simulation.Report {
    state.withLock { state in
      (state.service, state.process, state.connections) = (nil, nil, [])  // they know this world, through their stages
      var violations = state.violations
      if isStuck { violations.append("stuck: \(state.accepted.filter { state.ended[$0] == nil }.count) never ended") }
      for (index, id) in state.accepted.enumerated() {
        let endings = state.ended[id] ?? []
        if endings.count != 1, !isStuck || endings.count > 1 {
          violations.append("message \(index) ended \(endings.count) times: \(endings)")
        }
        for ending in endings where ending != "dead" {
          let stages = ending.split(separator: ",")
          if Set(stages).count != stages.count { violations.append("message \(index) passed a stage twice: \(ending)") }
          if !stages.contains("a") || !stages.contains("c") {
            violations.append("message \(index) left a stage out: \(ending)")
          }
        }
      }
      if state.ended.count > state.accepted.count { violations.append("more messages ended than were accepted") }
      var fingerprint = schedule
      for line in state.log {
        for byte in line.utf8 { fingerprint = (fingerprint ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
      }
      let dead = state.ended.values.filter { $0.contains("dead") }.count
      return Simulation.Report(
        seed: configuration.seed, violations: violations, steps: steps, choices: choices, fingerprint: fingerprint,
        crashes: state.crashes, accepted: state.accepted.count, finished: state.ended.count - dead, dead: dead,
        log: state.log)
    }
  }
}

/// A stage that behaves as the message's number says: quick, late, slow, failing, hanging, without its dependency.
private struct SimulatedStage: Stage {
  let world: World
  let process: MortalBroker
  let name: String

  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    let number = Int(message.attribute("number") ?? "") ?? 0
    if name == "c", !message.done.contains("a") {
      world.state.withLock { $0.violations.append("c ran on message \(number) before a, which it needs") }
    }
    let isAlive = process.isAlive
    let tries = world.state.withLock { state -> Int in
      if isAlive { state.log.append("\(context.clock.now.milliseconds) \(name) \(number)") }
      state.tries["\(name) \(number)", default: 0] += 1
      return state.tries["\(name) \(number)", default: 0]
    }
    if isAlive {
      world.state.withLock { state in
        if let breach = state.order.started(message.id, at: name, order: World.order(of: name)) {
          state.violations.append(breach)
        }
      }
    }
    defer { if isAlive, process.isAlive { world.state.withLock { $0.order.ended(message.id, at: name) } } }
    switch (number * 7 + Int(world.configuration.seed % 97)) % 11 {
    case 0, 1, 2: break
    case 3: try await context.clock.sleep(for: .milliseconds(300))
    case 4: try await context.clock.sleep(for: .seconds(3))
    case 5 where name == "a": if tries < 3 { throw StageError.transient("flaky", "try \(tries)") }
    case 6 where name == "b": return .reject(reason: "bad", message: "on purpose")
    case 7 where name == "c": if tries < 4 { throw StageError.dependencyDown("world", "try \(tries)") }
    case 8 where name == "a": try await context.clock.sleep(for: .seconds(3600))
    case 9 where name == "b": return .retry(reason: "later", after: nil)
    case 10 where name == "c": if tries < 2 { throw StageError.transient("flaky", "try \(tries)") }
    default: await Task.yield()
    }
    var message = message
    message.annotate(name, "done")
    message.key = Bytes("key \(number % 3)")
    return .forward(message)
  }
}

import EmbeddedBroker
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A hundred messages a second, one in a hundred of which takes a minute: on the manual clock, on the real runtime.
@Suite struct SlowTests {
  @Test func nobodyWaitsForASlowMessage() throws {
    let world = SlowWorld()
    try world.run()
    let report = world.report
    print("slow: \(report)")
    #expect(report.accepted == 12_000 && report.ended == 12_000 && report.twice == 0 && report.dead == 0)
    #expect(report.slow == 120)
    // The next message comes after 10 ms; from then on the slow one is in the way of somebody. The kill adds 50 ms.
    #expect(report.worstFast <= .milliseconds(80), "a message that takes no time was settled late")
    #expect(report.mostActive <= 64 + 8, "the budgets are the slow lane's and the stage's")
    #expect(report.mostInHand <= 1024)
  }
}

private final class SlowWorld: Sendable {
  struct Report: Sendable {
    var accepted = 0
    var ended = 0
    var slow = 0
    var twice = 0
    var dead = 0
    var worstFast = Duration.zero
    var mostActive = 0
    var mostInHand: Int64 = 0
  }
  private struct State {
    var report = Report()
    var accepted: [MessageID: (at: Timestamp, isSlow: Bool)] = [:]
    var active = 0
    var delivered: [TopicPartition: Int64] = [:]
    var failure: String?
  }
  private let state = Mutex(State())
  private let clock = ManualClock()
  private let executor = SeededExecutor(seed: 1)
  private let topology: Topology

  init() {
    var stage = Topology.StageSettings("work", use: "work")
    stage.timeout = .seconds(120)
    stage.slowAfter = .seconds(1)
    stage.slowBudget = 64
    stage.concurrency = 8
    topology = Topology(name: "slow", flows: [Topology.Flow("main", from: ["test"], stages: [stage])])
  }

  var report: Report { state.withLock { $0.report } }

  func run() throws {
    let hasEnded = executor.run(clock) {
      do { try await self.live() } catch { self.state.withLock { $0.failure = "\(error)" } }
    }
    let failure = state.withLock { $0.failure }
    try #require(hasEnded && failure == nil)
  }

  private func live() async throws {
    let broker = try EmbeddedBroker.inMemory(clock: clock)
    try await broker.create(PipelineService.specifications(topology))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.send(broker) }
      group.addTask { try await self.process(broker) }
      try await group.waitForAll()
    }
    try await judge(broker)
  }

  private func send(_ broker: any Broker) async throws {
    let intake = try #require(
      Intake(
        source: "test", topology: topology, broker: broker, clock: clock, random: SeededRandom(seed: 2),
        contentStore: nil))
    for number in 0..<12_000 {
      let isSlow = number % 100 == 50
      let id = intake.newID()
      state.withLock { state in
        state.accepted[id] = (clock.now, isSlow)
        state.report.accepted += 1
      }
      try await intake.accept(
        id: id, content: Bytes("x"), contentType: "text/plain", source: "test",
        attributes: [("slow", isSlow ? "yes" : "no")])
      try await clock.sleep(for: .milliseconds(10))
    }
  }

  /// One process is killed after a minute; the next one runs to the end.
  private func process(_ broker: EmbeddedBroker) async throws {
    for life in [Duration.seconds(60), .seconds(160)] {
      let process = MortalBroker(
        try broker.sibling(),
        onDelivery: { record in
          self.state.withLock { $0.delivered[record.topicPartition] = record.offset + 1 }
        })
      let service = try await self.service(process)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await service.run() }
        group.addTask {
          let end = self.clock.now + life
          while self.clock.now < end {
            try await self.clock.sleep(for: .milliseconds(250))
            try await self.countInHand(broker)
          }
          process.kill()
        }
        try await group.waitForAll()
      }
    }
  }

  private func service(_ process: MortalBroker) async throws -> PipelineService {
    var registry = StageRegistry()
    registry.register("work", "Takes its time.", options: NoOptions.self) { _, _ in
      .one(Work { change in self.noteActive(change) })
    }
    let environment = StageRunner.Environment(
      broker: process, clock: clock, log: Log(clock: clock, minimum: .error) { _ in }, instance: "worker")
    return try await PipelineService(
      topology, stages: registry, dataFolder: "", random: SeededRandom(seed: 3), environment: environment)
  }

  private func noteActive(_ change: Int) {
    state.withLock { state in
      state.active += change
      state.report.mostActive = max(state.report.mostActive, state.active)
    }
  }

  private func countInHand(_ broker: any Broker) async throws {
    let settled = try await broker.committed(group: "slow.main.work", in: ["slow.main.work", "slow.main.work.slow"])
    state.withLock { state in
      let inHand = state.delivered.reduce(0) { $0 + $1.value - (settled[$1.key] ?? 0) }
      state.report.mostInHand = max(state.report.mostInHand, inHand)
    }
  }

  private func judge(_ broker: any Broker) async throws {
    var ended: Set<MessageID> = []
    let trace = TopicPartition(topology.traceTopic, 0)
    var offset: Int64 = 0
    while true {
      let records = try await broker.read(trace, from: offset, limit: 1000)
      guard let last = records.last else { break }
      offset = last.offset + 1
      for record in records {
        let message = try MessageCodec.decode(record, store: nil)
        state.withLock { state in
          if !ended.insert(message.id).inserted { state.report.twice += 1 }
          guard let (at, isSlow) = state.accepted[message.id] else { return }
          state.report.ended += 1
          if isSlow { state.report.slow += 1 }
          if !isSlow { state.report.worstFast = max(state.report.worstFast, record.timestamp - at) }
        }
      }
    }
    let dead = try await broker.watermarks([TopicPartition("slow.main.work.dead", 0)])
    state.withLock { $0.report.dead = Int(dead.reduce(0) { $0 + $1.end - $1.first }) }
  }
}

private struct Work: Stage {
  let active: @Sendable (Int) -> Void

  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    active(1)
    defer { active(-1) }
    if message.attribute("slow") == "yes" { try await context.clock.sleep(for: .seconds(60)) }
    return .forward(message)
  }
}

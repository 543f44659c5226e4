import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// Members of a stage come and go while it works, on a broker in memory and a clock that jumps from one event to the
/// next: what has to be given up is finished, or begun again by the next owner, and ends once.
@Suite struct RebalanceTests {
  /// What a message meets at each of its tries.
  private struct Try: Sendable {
    let id: MessageID
    let member: String
    let at: Timestamp
  }

  private final class World: Sendable {
    let clock = ManualClock()
    let broker: MemoryBroker
    let tries = Mutex<[Try]>([])
    /// How long a try takes; the number counts the tries of the message before.
    let work: @Sendable (Int) throws -> Duration

    init(_ work: @escaping @Sendable (Int) throws -> Duration) {
      broker = MemoryBroker(clock: clock)
      self.work = work
    }

    func tries(of member: String? = nil) -> [Try] {
      tries.withLock { $0.filter { member == nil || $0.member == member } }
    }
  }

  private struct Worker: Stage {
    let world: World
    let member: String
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
      let before = world.tries.withLock { tries in
        defer { tries.append(Try(id: message.id, member: member, at: context.clock.now)) }
        return tries.count { $0.id == message.id }
      }
      try await context.clock.sleep(for: world.work(before))
      return .forward(message)
    }
  }

  private static let count = 8
  private static func topology(_ concurrency: Int) -> Topology {
    var stage = Topology.StageSettings("s")
    stage.partitions = 2
    stage.concurrency = concurrency
    stage.retry = [.seconds(60)]
    stage.slowAfter = .seconds(30)
    stage.timeout = .seconds(300)
    return Topology(name: "t", flows: [Topology.Flow("f", from: ["g"], stages: [stage])])
  }

  /// Sends messages to both partitions, runs member `a`, and `b` too from `moment` on; until all have ended.
  private func run(_ world: World, concurrency: Int = 16, join moment: @escaping @Sendable (World) -> Bool) throws {
    let failure = Mutex<String?>("not over")
    let topology = Self.topology(concurrency)
    let hasEnded = SeededExecutor(seed: 1).run(world.clock) {
      do {
        try await world.broker.create(PipelineService.specifications(topology))
        let intake = try #require(
          Intake(
            source: "g", topology: topology, broker: world.broker, clock: world.clock,
            random: SeededRandom(seed: 2), contentStore: nil))
        for _ in 0..<Self.count {
          try await intake.accept(content: Bytes("x"), contentType: "text/plain", source: "g", attributes: [])
        }
        let a = try await service("a", topology, world)
        let b = try await service("b", topology, world)
        await withTaskGroup(of: Void.self) { group in
          group.addTask { await a.run() }
          group.addTask {
            await wait(world) { moment(world) }
            await b.run()
          }
          group.addTask {
            await wait(world) { world.broker.records("t.trace").count >= Self.count }
            a.drain()
            b.drain()
          }
        }
        failure.withLock { $0 = nil }
      } catch { failure.withLock { $0 = "\(error)" } }
    }
    #expect(hasEnded)
    #expect(failure.withLock { $0 } == nil)
    let ended = world.broker.records("t.trace").map { $0.key }
    #expect(ended.count == Self.count && Set(ended).count == Self.count, "each ends once")
    #expect(!world.tries(of: "b").isEmpty, "both have worked")
  }

  private func service(_ member: String, _ topology: Topology, _ world: World) async throws -> PipelineService {
    var registry = StageRegistry()
    registry.register("s", "Works as long as the test says.", options: NoOptions.self) { _, _ in
      .one(Worker(world: world, member: member))
    }
    let environment = StageRunner.Environment(
      broker: world.broker, clock: world.clock, log: Log(clock: world.clock, minimum: .error) { _ in },
      instance: member)
    return try await PipelineService(
      topology, stages: registry, dataFolder: "", random: SeededRandom(seed: 1), environment: environment)
  }

  private func wait(_ world: World, _ condition: @Sendable () -> Bool) async {
    let end = world.clock.now + .seconds(3600)
    while !condition(), world.clock.now < end { try? await world.clock.sleep(for: .milliseconds(100)) }
  }

  @Test func whatIsDoneInTimeIsSettledBeforeItsPartitionGoes() throws {
    // Both members begin something; what `a` had begun is not begun again, though half of it moves on.
    let world = World { _ in .seconds(3) }
    try run(world, concurrency: 2) { world in world.tries().count >= 2 }
    #expect(world.tries().count == Self.count)
  }

  @Test func whatTakesLongerIsCancelledAndBegunAgainByTheNextOwner() throws {
    let world = World { before in before == 0 ? .seconds(25) : .seconds(1) }
    let joined = Mutex<Timestamp?>(nil)
    try run(world) { world in
      guard world.tries().count >= Self.count else { return false }
      joined.withLock { $0 = world.clock.now }
      return true
    }
    let since = try #require(joined.withLock { $0 })
    let again = world.tries(of: "b")
    #expect(!again.isEmpty && again.allSatisfy { $0.at - since <= .seconds(11) }, "within the deadline")
    #expect(world.tries().count == Self.count + again.count, "what stays is not begun again")
  }

  @Test func slowMessagesOfALostPartitionAreTakenOver() throws {
    let world = World { before in before == 0 ? .seconds(200) : .seconds(1) }
    try run(world) { world in world.broker.records("t.f.s.slow").count == Self.count }
    let again = world.tries(of: "b")
    #expect(!again.isEmpty && again.count < Self.count)
    #expect(world.tries().count == Self.count + again.count, "work whose partition stays goes on")
  }

  @Test func retriesThatAreNotDueStayPaused() throws {
    let world = World { before in
      if before == 0 { throw StageError.transient("first", "on purpose") }
      return .seconds(1)
    }
    try run(world) { world in world.broker.records("t.f.s.retry.1m").count == Self.count }
    #expect(world.tries().count == 2 * Self.count)
    let first = try #require(world.tries().first)
    #expect(world.tries().dropFirst(Self.count).allSatisfy { $0.at - first.at >= .seconds(60) }, "never early")
  }
}

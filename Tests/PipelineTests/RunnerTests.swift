import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// The runtime on a broker in memory and a clock that jumps from one event to the next.
@Suite struct RunnerTests {
  private final class Stages: Sendable {
    let calls = Mutex<[String]>([])
    let failures = Mutex(0)

    struct One: Stage {
      let stages: Stages
      func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
        stages.calls.withLock { $0.append(context.stage.stage) }
        let fails = stages.failures.withLock { left in
          left -= 1
          return left >= 0
        }
        if fails { throw StageError.transient("away", "on purpose") }
        return .forward(message)
      }
    }

    var registry: StageRegistry {
      var registry = StageRegistry()
      registry.register("one", "Fails as often as it is told to.", options: NoOptions.self) { _, _ in
        .one(One(stages: self))
      }
      return registry
    }
  }

  private let clock = ManualClock()
  private let stages = Stages()

  private func topology(_ names: [String], retry: Duration) -> Topology {
    Topology(
      name: "t",
      flows: [
        Topology.Flow(
          "f", from: ["g"],
          stages: names.map { name in
            var stage = Topology.StageSettings(name, use: "one")
            stage.retry = [retry]
            stage.giveUp = .seconds(3600)
            return stage
          })
      ])
  }

  /// Runs the service of `topology` until `isOver` says so.
  private func serve(
    _ topology: Topology, _ broker: any Broker, until isOver: @escaping @Sendable () async throws -> Bool
  ) async throws {
    let environment = StageRunner.Environment(
      broker: broker, clock: clock, log: Log(clock: clock, minimum: .error) { _ in }, instance: "worker")
    let service = try await PipelineService(
      topology, stages: stages.registry, dataFolder: "", random: SeededRandom(seed: 1), environment: environment)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await service.run() }
      group.addTask {
        let end = clock.now + .seconds(600)
        while try await !isOver(), clock.now < end { try await clock.sleep(for: .milliseconds(100)) }
        service.drain()
      }
      try await group.waitForAll()
    }
  }

  private func send(_ topology: Topology, _ broker: any Broker) async throws {
    try await broker.create(PipelineService.specifications(topology))
    let intake = try #require(
      Intake(
        source: "g", topology: topology, broker: broker, clock: clock, random: SeededRandom(seed: 2),
        contentStore: nil))
    try await intake.accept(content: Bytes("x"), contentType: "text/plain", source: "g", attributes: [])
  }

  private func records(_ kind: LagReport.Row.Kind, _ topology: Topology, _ broker: any Broker) async throws -> Int64 {
    let report = try await LagReport.take(topology, broker: broker, clock: clock)
    return report.rows.filter { $0.kind == kind }.reduce(0) { $0 + $1.records }
  }

  private func run(_ body: @escaping @Sendable (any Broker) async throws -> Void) throws {
    let failure = Mutex<String?>(nil)
    let broker = MemoryBroker(clock: clock)
    let hasEnded = SeededExecutor(seed: 1).run(clock) {
      do { try await body(broker) } catch { failure.withLock { $0 = "\(error)" } }
    }
    #expect(hasEnded)
    #expect(failure.withLock { $0 } == nil)
  }

  @Test func whatWaitsForADelayThatIsGoneIsTriedWhenItIsDue() throws {
    try run { broker in
      let before = topology(["a"], retry: .seconds(10))
      let after = topology(["a"], retry: .seconds(60))
      stages.failures.withLock { $0 = 1 }
      try await send(before, broker)
      try await serve(before, broker) { try await records(.retry, before, broker) == 1 }
      let since = clock.now
      // The topic of the old delay is not forgotten: neither by `lag` nor by the stage.
      #expect(try await records(.retry, after, broker) == 1)
      try await serve(after, broker) { stages.calls.withLock { $0.count == 2 } }
      #expect(clock.now - since <= .seconds(11))
      #expect(try await records(.retry, after, broker) == 0)
    }
  }

  @Test func aStageThatIsGoneIsEmptied() throws {
    try run { broker in
      let before = topology(["a", "b"], retry: .seconds(10))
      let after = topology(["b"], retry: .seconds(10))
      stages.failures.withLock { $0 = 1 }
      try await send(before, broker)
      try await serve(before, broker) { try await records(.retry, before, broker) == 1 }
      #expect(try await records(.retry, after, broker) == 1)
      try await serve(after, broker) { stages.calls.withLock { $0.last == "b" } }
      #expect(stages.calls.withLock { $0 } == ["a", "b"])
      #expect(try await records(.retry, after, broker) == 0)
    }
  }

  /// A stage that knows no cancellation, and ends when it is told to.
  private final class Stubborn: Stage {
    private let state = Mutex<CheckedContinuation<Void, Never>?>(nil)
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
      await withCheckedContinuation { continuation in state.withLock { $0 = continuation } }
      return .forward(message)
    }
    func end() { state.withLock { $0 }?.resume() }
  }

  @Test func aServiceThatIsCancelledWhileItDrainsWaitsForItsStages() throws {
    try run { broker in
      let stubborn = Stubborn()
      var registry = StageRegistry()
      registry.register("one", "Ends when it is told to.", options: NoOptions.self) { _, _ in .one(stubborn) }
      let topology = topology(["a"], retry: .seconds(10))
      try await send(topology, broker)
      let environment = StageRunner.Environment(
        broker: broker, clock: clock, log: Log(clock: clock, minimum: .error) { _ in }, instance: "worker")
      let service = try await PipelineService(
        topology, stages: registry, dataFolder: "", random: SeededRandom(seed: 1), environment: environment)
      let begin = clock.now
      await withTaskGroup(of: Void.self) { group in
        group.addTask {
          await withTaskGroup(of: Void.self) { inner in
            inner.addTask { await service.run() }
            try? await clock.sleep(for: .seconds(1))
            service.drain()
            try? await clock.sleep(for: .seconds(1))
            inner.cancelAll()
          }
          #expect(clock.now - begin == .seconds(5))
        }
        group.addTask {
          try? await clock.sleep(for: .seconds(5))
          stubborn.end()
        }
      }
    }
  }

  private struct Slow: Stage {
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
      try await context.clock.sleep(for: .seconds(2))
      return .forward(message)
    }
  }

  /// On a broker on the network the slow lane's record may come long after it was written.
  @Test func slowWorkThatEndsBeforeItsRecordIsBackIsSettledWhenItIs() throws {
    try run { inner in
      let broker = MortalBroker(
        inner,
        beforeDelivery: { records in
          guard records.contains(where: { $0.topicPartition.topic.hasSuffix(".slow") }) else { return }
          try? await clock.sleep(for: .seconds(5))
        })
      var registry = StageRegistry()
      registry.register("one", "Takes two seconds.", options: NoOptions.self) { _, _ in .one(Slow()) }
      var settings = Topology.StageSettings("a", use: "one")
      settings.slowAfter = .seconds(1)
      let topology = Topology(name: "t", flows: [Topology.Flow("f", from: ["g"], stages: [settings])])
      try await send(topology, broker)
      let environment = StageRunner.Environment(
        broker: broker, clock: clock, log: Log(clock: clock, minimum: .error) { _ in }, instance: "worker")
      let service = try await PipelineService(
        topology, stages: registry, dataFolder: "", random: SeededRandom(seed: 1), environment: environment)
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await service.run() }
        try? await clock.sleep(for: .seconds(20))
        #expect((try? await records(.slow, topology, inner)) == 0)
        #expect((try? await records(.ready, topology, inner)) == 0)
        service.drain()
      }
    }
  }

  @Test func aServiceWithoutStagesWaitsForItsEnd() throws {
    try run { broker in try await serve(Topology(name: "t", flows: []), broker) { true } }
  }
}

import EmbeddedBroker
import Pipeline
import PipelineCommands
import Synchronization

/// Seven stages that do nothing, run as a worker runs them.
enum Chain {
  /// Does nothing.
  struct PassStage: Stage {
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome { .forward(message) }
  }

  @concurrent static func run(_ folder: String, messages: Int) async throws {
    let clock = SystemClock.shared
    let settles = Atomic<Int>(0)
    let embedded = try await EmbeddedBroker.open(folder: folder, clock: clock)
    let broker = CountingBroker(embedded) { settles.wrappingAdd(1, ordering: .relaxed) }
    let names = (1...7).map { "pass\($0)" }
    let topology = Topology(
      name: "bench", flows: [Topology.Flow("chain", from: ["bench"], stages: names.map { .init($0, use: "pass") })])
    var registry = StageRegistry()
    registry.register("pass", "Lets every message pass.", options: NoOptions.self, readsContent: false) { _, _ in
      .one(PassStage())
    }
    let service = try await Worker.service(folder, topology, registry, broker)
    try await Worker.accept(messages, topology, broker)
    let before = embedded.commits
    let meter = Meter()
    try await Worker.run(service) {
      while try await embedded.watermarks([TopicPartition("bench.trace", 0)])[0].end < messages {
        try await clock.sleep(for: .milliseconds(5))
      }
    }
    report(
      count: messages, meter, ("settles", Double(settles.load(ordering: .relaxed))),
      ("commits", Double(embedded.commits - before)))
    await embedded.close()
  }
}

/// Runs a pipeline as `mailflow`'s worker does: stages on a pool of their own, a journal of what is in hand.
enum Worker {
  static func service(
    _ folder: String, _ topology: Topology, _ registry: StageRegistry, _ broker: any Broker
  ) async throws -> PipelineService {
    let clock = SystemClock.shared
    var environment = StageRunner.Environment(
      broker: broker, clock: clock, log: Log(clock: clock, minimum: .warning) { print("log:", $0.message, $0.fields) },
      instance: "worker")
    environment.stageExecutor = ThreadPool(threads: 4)
    environment.journal = try InHandFile(creating: "\(folder)/in-hand")
    return try await PipelineService(
      topology, stages: registry, dataFolder: folder, random: SystemRandom(), environment: environment)
  }

  /// Accepts messages of 10 KiB as a gateway does, 64 at a time.
  static func accept(_ count: Int, _ topology: Topology, _ broker: any Broker) async throws {
    guard
      let intake = Intake(
        source: "bench", topology: topology, broker: broker, clock: SystemClock.shared, random: SystemRandom(),
        contentStore: nil)
    else { return }
    let content = Bytes(noise(10_240))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for first in 0..<64 {
        group.addTask {
          for _ in stride(from: first, to: count, by: 64) {
            try await intake.accept(
              content: content, contentType: "message/rfc822", source: "bench",
              attributes: [("mail-from", "sender@example.org"), ("rcpt-to", "recipient@example.com")])
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// Runs the service until `isOver` returns.
  static func run(_ service: PipelineService, until isOver: @escaping @Sendable () async throws -> Void) async throws {
    let control = ThreadPool(threads: 1)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask(executorPreference: control) { await service.run() }
      group.addTask {
        defer { service.drain() }
        try await isOver()
      }
      try await group.waitForAll()
    }
  }
}

import EmbeddedBroker
import Pipeline
import Synchronization

/// How long ordinary messages take when some of their neighbours take a minute.
enum Slow {
  /// Takes a minute for a message with the attribute `slow`; notes the latency of the others.
  private struct WorkStage: Stage {
    let latencies: Latencies
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
      if message.attribute("slow") != nil {
        try await context.clock.sleep(for: .seconds(60))
      } else {
        latencies.add(message.id, at: context.clock.now)
      }
      return .forward(message)
    }
  }

  private final class Latencies: Sendable {
    private let accepted = Mutex<[MessageID: Timestamp]>([:])
    private let milliseconds = Mutex<[Double]>([])
    func expect(_ id: MessageID, at time: Timestamp) { accepted.withLock { $0[id] = time } }
    func add(_ id: MessageID, at time: Timestamp) {
      guard let start = accepted.withLock({ $0.removeValue(forKey: id) }) else { return }
      milliseconds.withLock { $0.append(Double((time - start).microseconds) / 1000) }
    }
    var missing: Int { accepted.withLock { $0.count } }
    var sorted: [Double] { milliseconds.withLock { $0 }.sorted() }
  }

  @concurrent static func run(_ folder: String, seconds: Int, slowPercent: Int) async throws {
    let clock = SystemClock.shared
    let broker = try await EmbeddedBroker.open(folder: folder, clock: clock)
    var settings = Topology.StageSettings("work")
    settings.timeout = .seconds(120)
    settings.slowAfter = .seconds(1)
    settings.slowBudget = 64
    let topology = Topology(name: "bench", flows: [Topology.Flow("slow", from: ["bench"], stages: [settings])])
    let latencies = Latencies()
    var registry = StageRegistry()
    registry.register("work", "Works.", options: NoOptions.self, readsContent: false) { _, _ in
      .one(WorkStage(latencies: latencies))
    }
    let service = try await Worker.service(folder, topology, registry, broker)
    guard
      let intake = Intake(
        source: "bench", topology: topology, broker: broker, clock: clock, random: SystemRandom(), contentStore: nil)
    else { return }
    let content = Bytes(noise(10_240))
    let meter = Meter()
    let total = seconds * 100
    try await Worker.run(service) {
      let start = clock.now
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<total {
          try await clock.sleep(until: start + .milliseconds(10 * index))
          group.addTask {
            let isSlow = index % 100 < slowPercent
            let id = intake.newID()
            if !isSlow { latencies.expect(id, at: clock.now) }
            try await intake.accept(
              id: id, content: content, contentType: "message/rfc822", source: "bench",
              attributes: isSlow ? [("slow", "yes")] : [])
          }
        }
        try await group.waitForAll()
      }
      // Whatever is left after five seconds counts as that late.
      let end = clock.now + .seconds(5)
      while latencies.missing > 0, clock.now < end { try await clock.sleep(for: .milliseconds(20)) }
      service.drain()
      service.abandon()
    }
    let sorted = latencies.sorted + Array(repeating: 5000, count: latencies.missing)
    func percentile(_ share: Double) -> Double { sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))] }
    report(
      count: sorted.count, meter, ("p50", percentile(0.5)), ("p99", percentile(0.99)), ("max", sorted.last ?? 0),
      ("missing", Double(latencies.missing)))
    await broker.close()
  }
}

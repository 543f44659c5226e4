import EmbeddedBroker
import Pipeline
import PipelineTesting
import Synchronization
import Testing

// A second user of the framework: log lines that are parsed, filtered and counted. Nothing here knows of mail.

/// Reads `LEVEL text` and notes the level.
private struct ParseStage: Stage {
  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    let line = try await message.content.load().text
    guard let space = line.firstIndex(of: " ") else { return .reject(reason: "format", message: "no level: \(line)") }
    var message = message
    message.annotate("level", String(line[..<space]))
    return .forward(message)
  }
}

/// Drops what is for developers only; what is urgent takes the short way.
private struct FilterStage: Stage {
  struct Options: StageOptions {
    static let schema = OptionSchema([
      Option("drop", .choice(["debug", "info"]), default: .text("debug"), "The level that is dropped")
    ])
    let drop: String
    init(_ values: OptionValues) { drop = values.text("drop") ?? "" }
  }
  let options: Options
  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    switch message.annotation("level") {
    case options.drop: return .drop(reason: "level")
    case "alert": return .route("urgent", message)
    default: return .forward(message)
    }
  }
}

/// Counts lines by level, a batch at a time.
private struct CountStage: BatchStage {
  let counts: Counts
  func process(_ batch: [Message], _ context: StageContext) async throws -> [Outcome] {
    for message in batch { counts.add("\(context.stage.stage) \(message.annotation("level") ?? "?")") }
    return batch.map { .forward($0) }
  }
}

private final class Counts: Sendable {
  private let counts = Mutex<[String: Int]>([:])
  func add(_ name: String) { counts.withLock { $0[name, default: 0] += 1 } }
  var all: [String: Int] { counts.withLock { $0 } }
}

@Suite struct LogPipelineTests {
  @Test func linesFlowThroughAPipelineOfTheirOwn() throws {
    let clock = ManualClock()
    let failure = Mutex<String?>(nil)
    let hasEnded = SeededExecutor(seed: 1).run(clock) {
      do { try await linesFlow(clock) } catch { failure.withLock { $0 = "\(error)" } }
    }
    #expect(hasEnded)
    #expect(failure.withLock { $0 } == nil)
  }

  private func linesFlow(_ clock: ManualClock) async throws {
    let counts = Counts()
    var registry = StageRegistry()
    registry.register("parse", "Reads the level.", options: NoOptions.self) { _, _ in .one(ParseStage()) }
    registry.register("filter", "Drops a level.", options: FilterStage.Options.self, outcomes: ["urgent"]) {
      options, _ in .one(FilterStage(options: options))
    }
    registry.register("count", "Counts.", options: NoOptions.self, readsContent: false) { _, _ in
      .batch(CountStage(counts: counts), limit: 50)
    }
    let topology = try TopologyParser.parse(
      text: """
        version: 1
        name: logs
        gateways: {files: {}}
        flows:
          lines:
            from: files
            stages: [parse, filter, archive, count]
            on: {filter.urgent: count}
        stages:
          filter: {drop: info}
          archive: {use: count}
        """, file: "logs.yaml",
      vocabulary: Vocabulary(
        stages: registry,
        gateways: [.init("files", "Reads files.", isSource: true, schema: OptionSchema([]))]))
    let broker = try EmbeddedBroker.inMemory(clock: clock)
    let service = try await PipelineService(
      topology, stages: registry, dataFolder: "", random: SystemRandom(),
      environment: StageRunner.Environment(
        broker: broker, clock: clock, log: Log(clock: clock) { _ in }, instance: "worker"))
    let intake = try #require(
      Intake(
        source: "files", topology: topology, broker: broker, clock: clock, random: SystemRandom(), contentStore: nil))
    let lines = (0..<200).map { ["info started", "warning slow", "alert down", "garbage"][$0 % 4] }
    for line in lines {
      try await intake.accept(content: Bytes(line), contentType: "text/plain", source: "files", attributes: [])
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await service.run() }
      group.addTask {
        // 150 ended lines in the trace, 50 dead letters.
        let end = clock.now + .seconds(60)
        while try await broker.watermarks([TopicPartition("logs.trace", 0), TopicPartition("logs.lines.parse.dead", 0)])
          .map({ Int($0.end) }) != [150, 50]
        {
          try #require(clock.now < end)
          try await clock.sleep(for: .milliseconds(5))
        }
        service.drain()
      }
      try await group.waitForAll()
    }
    #expect(counts.all == ["archive warning": 50, "count warning": 50, "count alert": 50])
    let letters = try await DeadLetters(topology, broker: broker, clock: clock).list()
    #expect(Set(letters.map(\.reason)) == ["format"] && letters.count == 50)
    await broker.close()
  }
}

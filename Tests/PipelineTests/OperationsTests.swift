import PipelineTesting
import Synchronization
import Testing

@testable import Pipeline

/// What operators do to a whole deployment: epochs, nodes, a move to another broker.
@Suite struct OperationsTests {
  private let clock = ManualClock()

  private func topology(_ stages: [String] = ["a", "b"]) -> Topology {
    Topology(name: "t", flows: [Topology.Flow("f", from: ["s"], stages: stages.map { Topology.StageSettings($0) })])
  }

  private func message(_ number: Int, key: String? = nil) -> Message {
    var message = Message(
      id: MessageID(at: Timestamp(milliseconds: Int64(number)), random: SystemRandom()), flow: "f", source: "s",
      contentType: "text/plain", content: Content(Bytes("\(number)")))
    if let key { message.key = Bytes(key) }
    return message
  }

  // MARK: Epochs

  @Test func aChangedTopologyIsTheNextEpochOnceNobodyRunsTheOldOne() async throws {
    let broker = MemoryBroker(clock: clock)
    #expect(try await TopologyLog(topology(), broker: broker).join(as: "one", needsFolder: false) == 1)
    #expect(try await TopologyLog(topology(), broker: broker).join(as: "two", needsFolder: false) == 1)
    let changed = TopologyLog(topology(["b", "a"]), broker: broker)
    try await broker.create(PipelineService.specifications(topology()))
    let member = try await broker.join(
      Membership(group: "t.f.a", topics: ["t.f.a"], instance: "one.worker"))
    _ = try await member.next(limit: 1)
    await #expect(throws: TopologyLog.Refusal.self) { try await changed.join(as: "two", needsFolder: false) }
    // The node itself may start with another file.
    #expect(try await changed.join(as: "one", needsFolder: false) == 2)
    await member.close()
    #expect(try await TopologyLog(topology(), broker: broker).join(as: "two", needsFolder: false) == 3)
    let entries = try await changed.entries()
    #expect(entries.epochs.map(\.number) == [1, 2, 3] && entries.epochs.map(\.node) == ["one", "one", "two"])
    #expect(entries.epochs[1].outline.contains { $0.hasPrefix("stage f 1 b") })
  }

  /// Whoever may write to the broker may write to this topic, too.
  @Test func whatIsNoEpochIsPassedOver() async throws {
    let broker = MemoryBroker(clock: clock)
    let log = TopologyLog(topology(), broker: broker)
    _ = try await log.join(as: "one", needsFolder: false)
    try await broker.produce(
      ["epoch-\(Int.max)", "epoch-0", "epoch--1", "epoch-x"].map {
        OutgoingRecord(
          topic: "t.topology", partition: 0, key: Bytes($0), headers: Headers(), value: .bytes(Bytes("other")))
      })
    #expect(try await TopologyLog(topology(["b", "a"]), broker: broker).join(as: "one", needsFolder: false) == 2)
    #expect(try await log.entries().epochs.map(\.number) == [1, 2])
  }

  @Test func theDataFolderIsOnOneNode() async throws {
    let broker = MemoryBroker(clock: clock)
    let log = TopologyLog(topology(), broker: broker)
    _ = try await log.join(as: "one", needsFolder: true)
    _ = try await log.join(as: "one", needsFolder: true)
    _ = try await log.join(as: "two", needsFolder: false)
    await #expect(throws: TopologyLog.Refusal.self) { try await log.join(as: "two", needsFolder: true) }
    #expect(try await log.entries().home == "one")
  }

  @Test func ofTwoThatClaimTheFolderAtTheSameTimeTheFirstHasIt() async throws {
    let broker = MemoryBroker(clock: clock)
    let log = TopologyLog(topology(), broker: broker)
    _ = try await log.join(as: "one", needsFolder: true)
    // What a node writes that looked before `one` had written.
    try await broker.produce([
      OutgoingRecord(
        topic: "t.topology", partition: 0, key: Bytes("home"), headers: Headers(), value: .bytes(Bytes("two")))
    ])
    #expect(try await log.entries().home == "one")
  }

  // MARK: Migration

  @Test func aMigrationThatIsCutOffMovesEachRecordOnce() async throws {
    let (source, target) = (MemoryBroker(clock: clock), MemoryBroker(clock: clock))
    var topology = topology()
    topology.flows[0].stages[0].partitions = 3
    try await source.create(PipelineService.specifications(topology))
    var waiting: [String] = []
    for number in 0..<500 {
      let topic = ["t.f.a", "t.f.a.retry.10s", "t.f.b", "t.f.b.dead", "t.trace"][number % 5]
      try await source.produce([MessageCodec.encode(message(number, key: "k\(number % 7)"), topic: topic)])
      waiting.append("\(number)")
    }
    // What was settled stays behind.
    let consumer = try await source.join(Membership(group: "t.f.b", topics: ["t.f.b"], instance: "w"))
    var settled: [String] = []
    while settled.isEmpty {
      guard case .records(let records) = try await consumer.next(limit: 10) else { continue }
      for record in records { settled.append(String(decoding: try await record.value(), as: UTF8.self)) }
      let last = try #require(records.last)
      try await consumer.settle(
        Settlement(progress: [
          .init(
            topicPartition: last.topicPartition, generation: last.generation, next: last.offset + 1, settled: records)
        ]))
    }
    await consumer.close()
    #expect(try await Migration(topology, from: source, to: target).plan().reduce(0) { $0 + $1.total } == 490)

    // Cut off at several places, by a target that goes away.
    for after in [1, 2, 3] {
      let steps = Counter()
      await #expect(throws: BrokerError.self) {
        try await Migration(topology, from: source, to: target).run(destination: "there") { _ in
          if steps.next() == after { target.fail(with: BrokerError(.unavailable, "gone")) }
        }
      }
      target.fail(with: nil)
    }
    let moved = try await Migration(topology, from: source, to: target).run(destination: "there")
    #expect(moved.reduce(0) { $0 + $1.records } == 490)
    var arrived: [String] = []
    for topic in ["t.f.a", "t.f.a.retry.10s", "t.f.b", "t.f.b.dead", "t.trace"] {
      arrived += target.records(topic).map { String(decoding: $0.value, as: UTF8.self) }
    }
    #expect(arrived.sorted() == waiting.filter { !settled.contains($0) }.sorted())
    // Order of a key is kept.
    let work = target.records("t.f.a")
    for key in Set(work.map(\.key)) {
      let numbers = work.filter { $0.key == key }.compactMap { Int(String(decoding: $0.value, as: UTF8.self)) }
      #expect(numbers == numbers.sorted())
    }
    // The source is empty, and says where it all went.
    #expect(source.records("t.f.a").isEmpty)
    let refusal = await #expect(throws: TopologyLog.Refusal.self) {
      try await TopologyLog(topology, broker: source).join(as: "one", needsFolder: false)
    }
    #expect(refusal?.message == "what was here was moved to there")
  }
}

/// Counts from 1.
private final class Counter: Sendable {
  private let value = Mutex(0)
  func next() -> Int {
    value.withLock { value in
      value += 1
      return value
    }
  }
}

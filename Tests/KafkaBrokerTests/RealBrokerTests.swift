import KafkaBroker
import Pipeline
import Testing

/// What holds on Kafka beyond the conformance suite.
@Suite("Kafka, real", .enabled(if: TestKafka.isThere, TestKafka.howToGetIt), .timeLimit(.minutes(1)))
struct RealBrokerTests {
  private func records(_ consumer: any Consumer) async throws -> [Record] {
    while true { if case .records(let records) = try await consumer.next(limit: 100) { return records } }
  }

  private func settle(_ record: Record, next: Int64, on consumer: any Consumer) async throws {
    let progress = Settlement.Progress(
      topicPartition: record.topicPartition, generation: record.generation, next: next, settled: [record])
    try await consumer.settle(Settlement(progress: [progress]))
  }

  private func text(_ records: [Record]) async throws -> String? { try await records.first?.value().text }

  @Test("an offset that is not there is an error, never a jump, and a seek goes on from it")
  func outOfRange() async throws {
    let broker = try await KafkaBroker.open(TestKafka.options())
    let topic = "range-\(SystemRandom().next())"
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    try await broker.produce([
      OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(Bytes("here")))
    ])
    let membership = Membership(group: topic, topics: [topic], instance: "one")
    let first = try await broker.join(membership)
    let found = try #require(try await records(first).first)
    try await settle(found, next: 1000, on: first)
    await first.close()

    let second = try await broker.join(membership)
    let error = await #expect(throws: BrokerError.self) { _ = try await records(second) }
    #expect(error?.kind == .outOfRange)
    try await second.seek(found.topicPartition, to: found.offset)
    #expect(try await text(records(second)) == "here")
    await broker.close()
  }

  @Test("what was fetched ahead is not lost by a pause")
  func pause() async throws {
    let broker = try await KafkaBroker.open(TestKafka.options())
    let topic = "pause-\(SystemRandom().next())"
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    let values = (0..<500).map { "\($0)" }
    try await broker.produce(
      values.map { OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(Bytes($0))) })
    let consumer = try await broker.join(Membership(group: topic, topics: [topic], instance: "one"))
    let partition = [TopicPartition(topic, 0)]
    var seen: [String] = []
    while seen.count < values.count {
      guard case .records(let records) = try await consumer.next(limit: 3) else { continue }
      for record in records { seen.append(try await record.value().text) }
      try await consumer.pause(partition)
      try await consumer.resume(partition)
    }
    #expect(seen == values)
    await broker.close()
  }

  private func record(_ topic: String, _ value: Bytes) -> OutgoingRecord {
    OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(value))
  }

  @Test("when the producer's queue is full callers wait, in order, and nothing is lost")
  func backPressure() async throws {
    var options = TestKafka.options()
    options.properties["queue.buffering.max.messages"] = "3"
    let broker = try await KafkaBroker.open(options)
    let topic = "full-\(SystemRandom().next())"
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    let offsets = try await withThrowingTaskGroup(of: Int64.self) { group in
      for index in 0..<200 { group.addTask { try await broker.produce([record(topic, Bytes("\(index)"))])[0].offset } }
      return try await group.reduce(into: Set<Int64>()) { $0.insert($1) }
    }
    #expect(offsets == Set(0..<200))
    #expect(try await broker.read(TopicPartition(topic, 0), from: 0, limit: 500).count == 200)
    await broker.close()
  }

  @Test(
    "what the broker refuses for good is refused, and the next one goes through", arguments: Topology.Guarantee.allCases
  )
  func refused(_ guarantee: Topology.Guarantee) async throws {
    // A topic that takes less than the one who writes to it believes.
    var small = TestKafka.options()
    small.largestRecord = 2000
    let maker = try await KafkaBroker.open(small)
    let names = ["source", "target"].map { "small-\($0)-\(SystemRandom().next())" }
    try await maker.create(names.map { TopicSpecification($0, retention: .unlimited) })
    await maker.close()

    var options = TestKafka.options(.cooperative, guarantee)
    // What counts for the broker is the size of a batch as it comes.
    options.properties["compression.codec"] = "none"
    let broker = try await KafkaBroker.open(options)
    let large = Bytes([UInt8](repeating: 7, count: 10_000))
    let fitting = [record(names[0], Bytes("a")), record(names[0], Bytes("b"))]
    for batch in [[large], [large, large]] {
      for _ in 0..<3 {
        let error = await #expect(throws: BrokerError.self) {
          try await broker.produce(batch.map { record(names[0], $0) })
        }
        #expect(error?.kind == .tooLarge)
      }
      try await broker.produce(Array(fitting.prefix(batch.count)))
    }
    let membership = Membership(group: names[0], topics: [names[0]], instance: "one")
    var consumer = try await broker.join(membership)
    var found = try #require(try await records(consumer).first)
    func progress() -> Settlement.Progress {
      .init(
        topicPartition: found.topicPartition, generation: found.generation, next: found.offset + 1, settled: [found])
    }
    // More often than producers take turns: at the latest then the member has to join again.
    for _ in 0..<5 {
      let error = await #expect(throws: BrokerError.self) {
        try await consumer.settle(Settlement(outputs: [record(names[1], large)], progress: [progress()]))
      }
      #expect(error?.kind == .tooLarge || error?.kind == .unknownResult)
      guard error?.kind == .unknownResult else { continue }
      await consumer.close()
      consumer = try await broker.join(membership)
      found = try #require(try await records(consumer).first)
    }
    #expect(try await broker.committed(group: names[0], in: [names[0]]).isEmpty)
    try await consumer.settle(Settlement(outputs: [record(names[1], Bytes("b"))], progress: [progress()]))
    let output = try await broker.read(TopicPartition(names[1], 0), from: 0, limit: 10)
    #expect(try await text(output) == "b")
    #expect(output.count == 1)
    await broker.close()
  }

  @Test("transactions of producers that take turns stay in order")
  func turns() async throws {
    let broker = try await KafkaBroker.open(TestKafka.options())
    let names = ["source", "target"].map { "turns-\($0)-\(SystemRandom().next())" }
    try await broker.create(names.map { TopicSpecification($0, retention: .unlimited) })
    let values = (0..<100).map { "\($0)" }
    try await broker.produce(values.map { record(names[0], Bytes($0)) })
    let consumer = try await broker.join(Membership(group: names[0], topics: [names[0]], instance: "one"))
    var taken: [Record] = []
    while taken.count < values.count { taken += try await records(consumer) }
    // One settlement a record, begun in order and not waited for.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for one in taken {
        try await group.next()
        group.addTask {
          let progress = Settlement.Progress(
            topicPartition: one.topicPartition, generation: one.generation, next: one.offset + 1, settled: [one])
          try await consumer.settle(
            Settlement(
              outputs: [OutgoingRecord(topic: names[1], key: .empty, headers: Headers(), value: .same(one))],
              progress: [progress]))
        }
      }
      try await group.waitForAll()
    }
    var found: [String] = []
    for one in try await broker.read(TopicPartition(names[1], 0), from: 0, limit: 500) {
      found.append(try await one.value().text)
    }
    #expect(found == values)
    #expect(
      try await broker.committed(group: names[0], in: [names[0]]) == [TopicPartition(names[0], 0): taken[99].offset + 1]
    )
    await broker.close()
  }
}

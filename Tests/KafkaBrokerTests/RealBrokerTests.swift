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
}

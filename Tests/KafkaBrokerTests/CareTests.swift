import Pipeline
import Synchronization
import Testing

@testable import KafkaBroker

/// What a broker does by itself beside what it is told to.
@Suite("Kafka care", .enabled(if: TestKafka.isThere, TestKafka.howToGetIt), .timeLimit(.minutes(1)))
struct CareTests {
  private final class Reports: Sendable {
    private let errors = Mutex<[BrokerError]>([])
    func add(_ error: BrokerError) { errors.withLock { $0.append(error) } }
    var all: [BrokerError] { errors.withLock { $0 } }
  }

  private func open(_ reports: Reports = Reports()) async throws -> KafkaBroker {
    var options = TestKafka.options()
    options.careInterval = .milliseconds(100)
    options.report = { reports.add($0) }
    return try await KafkaBroker.open(options)
  }

  private func record(_ topic: String, _ value: String, _ partition: Int = 0) -> OutgoingRecord {
    OutgoingRecord(topic: topic, partition: partition, key: .empty, headers: Headers(), value: .bytes(Bytes(value)))
  }

  private func take(_ count: Int, from consumer: any Consumer) async throws -> [Record] {
    var found: [Record] = []
    while found.count < count {
      if case .records(let records) = try await consumer.next(limit: count) { found += records }
    }
    return found
  }

  private func settle(_ record: Record, on consumer: any Consumer) async throws {
    let progress = Settlement.Progress(
      topicPartition: record.topicPartition, generation: record.generation, next: record.offset + 1, settled: [record])
    try await consumer.settle(Settlement(progress: [progress]))
  }

  /// Waits until the partition begins there; the limit is for failures only.
  private func wait(_ broker: KafkaBroker, _ partition: TopicPartition, beginsAt first: Int64) async throws {
    let deadline = SystemClock.shared.now + .seconds(40)
    while true {
      let found = try await broker.watermarks([partition])[0].first
      if found == first { return }
      try #require(SystemClock.shared.now < deadline, "\(partition) begins at \(found), not \(first)")
      try await SystemClock.shared.sleep(for: .milliseconds(50))
    }
  }

  @Test("what every group has settled is deleted behind the window, and what one has not is not")
  func trim() async throws {
    let reports = Reports()
    let broker = try await open(reports)
    let topic = "care-\(SystemRandom().next())"
    let kept = "care-kept-\(SystemRandom().next())"
    try await broker.create([
      TopicSpecification(topic, partitions: 2, retention: .untilSettled(window: .milliseconds(1))),
      TopicSpecification(kept, retention: .untilSettled(window: .seconds(3600))),
    ])
    for partition in 0..<2 { for value in 0..<10 { try await broker.produce([record(topic, "\(value)", partition)]) } }
    for value in 0..<10 { try await broker.produce([record(kept, "\(value)")]) }

    let one = try await broker.join(Membership(group: topic, topics: [topic], instance: "one"))
    let taken = try await take(20, from: one).filter { $0.topicPartition.partition == 0 }
    try await settle(taken[6], on: one)
    let old = try await broker.join(Membership(group: kept, topics: [kept], instance: "one"))
    try await settle(take(10, from: old)[9], on: old)
    try await wait(broker, TopicPartition(topic, 0), beginsAt: 7)
    // What is younger than its window stays, as does a partition of which nothing is settled.
    #expect(try await broker.watermarks([TopicPartition(kept, 0)])[0].first == 0)
    #expect(try await broker.watermarks([TopicPartition(topic, 1)])[0].first == 0)

    // A second group that has settled nothing yet holds deletion up as soon as it is there.
    let two = try await broker.join(Membership(group: "\(topic)-two", topics: [topic], instance: "two"))
    let again = try await take(13, from: two).filter { $0.topicPartition.partition == 0 }
    #expect(again.map(\.offset) == [7, 8, 9])
    try await settle(taken[9], on: one)
    try await settle(again[0], on: two)
    try await wait(broker, TopicPartition(topic, 0), beginsAt: 8)
    #expect(reports.all.map(\.description) == [])
    await broker.close()
  }

  @Test("a partition goes by the group that is furthest behind, and by none that reads other topics")
  func least() {
    let names = [TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)]
    let least = Caretaker.least(
      of: names, [(["a"], [names[0]: 7, names[1]: 5]), (["a"], [names[0]: 3]), (["c"], [TopicPartition("c", 0): 1])])
    #expect(least == [names[0]: 3])
  }

  @Test("a topic that somebody deleted is told of and made again, and the group goes on with it")
  func deleted() async throws {
    let reports = Reports()
    let broker = try await open(reports)
    let topic = "gone-\(SystemRandom().next())"
    try await broker.create([TopicSpecification(topic, retention: .untilSettled(window: .seconds(3600)))])
    try await broker.produce([record(topic, "before")])
    let membership = Membership(group: topic, topics: [topic], instance: "one")
    var consumer = try await broker.join(membership)
    try await settle(take(1, from: consumer)[0], on: consumer)

    let other = try await KafkaBroker.open(TestKafka.options())
    try await other.delete([topic])
    await other.close()
    let deadline = SystemClock.shared.now + .seconds(40)
    while reports.all.isEmpty {
      try #require(SystemClock.shared.now < deadline)
      try await SystemClock.shared.sleep(for: .milliseconds(20))
    }
    #expect(reports.all[0].kind == .unknownTopic)
    #expect(reports.all[0].message.contains("topic \(topic) was deleted"))
    // As a service would: again and again, until it is accepted.
    while true {
      do {
        try await broker.produce([record(topic, "after")])
        break
      } catch {
        try #require(SystemClock.shared.now < deadline)
        try await SystemClock.shared.sleep(for: .milliseconds(100))
      }
    }
    while true {
      do {
        let found = try await take(1, from: consumer)[0]
        #expect(try await found.value().text == "after")
        try await settle(found, on: consumer)
        break
      } catch {
        try #require(SystemClock.shared.now < deadline)
        await consumer.close()
        do { consumer = try await broker.join(membership) } catch {
          guard error.kind == .unknownTopic else { throw error }
          try await SystemClock.shared.sleep(for: .milliseconds(100))
        }
      }
    }
    await broker.close()
  }
}

import Glibc
import KafkaBroker
import Pipeline
import Testing

/// A broker that stops answering in the middle of settlements. It is stopped for everybody, so `Scripts/test` runs these
/// apart from the others.
@Suite(
  "Kafka faults", .enabled(if: TestKafka.process != nil, "run by Scripts/test, when it has the broker to itself"),
  .serialized, .timeLimit(.minutes(1)))
struct FaultTests {
  private static let count = 20

  private func open() async throws -> KafkaBroker {
    var options = TestKafka.options()
    options.patience = .milliseconds(400)
    let deadline = SystemClock.shared.now + .seconds(20)
    while true {
      do { return try await KafkaBroker.open(options) } catch {
        guard error.isTransient, SystemClock.shared.now < deadline else { throw error }
      }
    }
  }

  /// Passes on what it gets until everything is at the target, joining again whenever it has to.
  private func passAll(from source: String, to target: String, _ broker: KafkaBroker, onFirst: () async -> Void)
    async throws -> [BrokerError.Kind]
  {
    var kinds: [BrokerError.Kind] = []
    var isFirst = true
    let deadline = SystemClock.shared.now + .seconds(40)
    while SystemClock.shared.now < deadline {
      let consumer: any Consumer
      do {
        consumer = try await broker.join(Membership(group: source, topics: [source], instance: "one"))
      } catch {
        guard error.kind == .unavailable || error.kind == .unknownResult else { throw error }
        continue
      }
      do {
        while try await broker.committed(group: source, in: [source])[TopicPartition(source, 0)] ?? 0 < Self.count {
          guard case .records(let records) = try await consumer.next(limit: 5), let last = records.last else {
            continue
          }
          let outputs = records.map {
            OutgoingRecord(topic: target, key: $0.key, headers: Headers(), value: .same($0))
          }
          let step = Settlement.Progress(
            topicPartition: last.topicPartition, generation: last.generation, next: last.offset + 1, settled: records)
          async let settled: Void = consumer.settle(Settlement(outputs: outputs, progress: [step]))
          if isFirst { await onFirst() }
          isFirst = false
          try await settled
        }
        await consumer.close()
        return kinds
      } catch let error as BrokerError {
        kinds.append(error.kind)
        await consumer.close()
      }
    }
    throw BrokerError(.other, "not everything came through: \(kinds)")
  }

  @Test("a settlement that was not answered is there once or not at all", arguments: [0, 1, 2, 3, 4, 6])
  func frozen(milliseconds: Int) async throws {
    let process = try #require(TestKafka.process)
    let name = "fault-\(SystemRandom().next())"
    let target = "\(name)-out"
    let broker = try await open()
    try await broker.create([
      TopicSpecification(name, retention: .unlimited), TopicSpecification(target, retention: .unlimited),
    ])
    let values = (0..<Self.count).map { "\($0)" }
    try await broker.produce(
      values.map { OutgoingRecord(topic: name, key: .empty, headers: Headers(), value: .bytes(Bytes($0))) })

    // When in the settlement the broker freezes is the argument; nothing tells of that moment. Thawed from a task of its
    // own: longer frozen than the settlement's patience.
    defer { kill(process, SIGCONT) }
    let kinds = try await passAll(from: name, to: target, broker) {
      try? await SystemClock.shared.sleep(for: .milliseconds(milliseconds))
      kill(process, SIGSTOP)
      Task {
        try? await SystemClock.shared.sleep(for: .milliseconds(2000))
        kill(process, SIGCONT)
      }
    }
    print("frozen after \(milliseconds) ms: \(kinds)")
    var found: [String] = []
    var offset: Int64 = 0
    while case let more = try await broker.read(TopicPartition(target, 0), from: offset, limit: 100),
      let last = more.last
    {
      for record in more { found.append(try await record.value().text) }
      offset = last.offset + 1
    }
    #expect(found == values)
    await broker.close()
  }
}

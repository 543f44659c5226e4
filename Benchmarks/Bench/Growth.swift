import EmbeddedBroker
import Pipeline

/// Records of 300 bytes beside millions that wait in the same topics.
enum Growth {
  private static let topics = ["bench.from", "bench.to"]
  private static let batch = 256
  private static let headers: Headers = {
    var headers = Headers()
    headers.append("bench-header", noise(80))
    return headers
  }()
  private static let value = Bytes(noise(186))
  private static let key = Bytes(noise(16))

  private static func record(_ topic: String) -> OutgoingRecord {
    OutgoingRecord(topic: topic, key: key, headers: headers, value: .bytes(value))
  }

  private static func open(_ folder: String) async throws -> EmbeddedBroker {
    let broker = try await EmbeddedBroker.open(folder: folder, clock: SystemClock.shared)
    try await broker.create(topics.map { TopicSpecification($0, retention: .untilSettled(window: .seconds(3600))) })
    return broker
  }

  private static func append(_ records: Int, to topic: String, _ broker: EmbeddedBroker) async throws {
    var done = 0
    while done < records {
      try await broker.produce((0..<min(batch, records - done)).map { _ in record(topic) })
      done += batch
    }
  }

  /// Half of them in either topic.
  @concurrent static func fill(_ folder: String, records: Int) async throws {
    let broker = try await open(folder)
    let meter = Meter()
    for topic in topics {
      var done = 0
      while done < records / 2 {
        try await broker.produce((0..<4096).map { _ in record(topic) })
        done += 4096
      }
    }
    report(count: records, meter)
    await broker.close()
  }

  /// Appends records, then takes as many from the head of the first topic and passes them on to the second.
  @concurrent static func run(_ folder: String, records: Int) async throws {
    let broker = try await open(folder)
    let appending = Meter()
    try await append(records, to: topics[0], broker)
    let appended = appending.elapsed
    let consumer = try await broker.join(Membership(group: "bench", topics: [topics[0]], instance: "bench"))
    let hopping = Meter()
    var done = 0
    while done < records {
      guard case .records(let some) = try await consumer.next(limit: batch), let last = some.last else { continue }
      try await consumer.settle(
        Settlement(
          outputs: try some.map {
            OutgoingRecord(topic: topics[1], key: $0.key, headers: try $0.headers(), value: .same($0))
          },
          progress: [
            .init(
              topicPartition: last.topicPartition, generation: last.generation, next: last.offset + 1, settled: some)
          ]))
      done += some.count
    }
    report(count: records, hopping, ("appendSeconds", appended.wall), ("appendCpu", appended.cpu))
    await broker.close()
  }
}

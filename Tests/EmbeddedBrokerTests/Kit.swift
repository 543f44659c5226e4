import EmbeddedBroker
import Pipeline
import SQLite
import Testing

/// Short forms for tests of one broker.
extension Broker {
  func make(_ names: String..., partitions: Int = 1, window: Duration = .zero) async throws {
    try await create(
      names.map { TopicSpecification($0, partitions: partitions, retention: .untilSettled(window: window)) })
  }

  func put(_ topic: String, _ values: String...) async throws {
    try await produce(
      values.map {
        OutgoingRecord(topic: topic, key: Bytes($0.prefix(20).utf8), headers: Headers(), value: .bytes(Bytes($0)))
      })
  }

  func member(_ group: String, _ topics: String..., as instance: String = "a", loadsValues: Bool = true) async throws
    -> any Consumer
  {
    try await join(Membership(group: group, topics: topics, instance: instance, loadsValues: loadsValues))
  }

  func values(_ topic: String) async throws -> [String] {
    let partition = TopicPartition(topic, 0)
    let first = try await watermarks([partition])[0].first
    var result: [String] = []
    for record in try await read(partition, from: first, limit: 10_000) { result.append(try await record.value().text) }
    return result
  }
}

extension Consumer {
  /// Takes records until there are `count`.
  func take(_ count: Int) async throws -> [Record] {
    var records: [Record] = []
    while records.count < count {
      switch try await next(limit: 500) {
      case .records(let more): records += more
      case .revoking(let partitions): try await release(partitions)
      case .assigned, .lost: break
      }
    }
    return records
  }

  /// Settles records of one partition, in order.
  func done(_ records: [Record], _ outputs: [OutgoingRecord] = []) async throws {
    guard let last = records.last else { return }
    try await settle(
      Settlement(
        outputs: outputs,
        progress: [
          .init(
            topicPartition: last.topicPartition, generation: last.generation, next: last.offset + 1, settled: records)
        ]))
  }

  /// Takes `count` records and passes each on to every one of `topics`.
  func pass(_ count: Int, to topics: String...) async throws {
    let records = try await take(count)
    try await done(
      records,
      records.flatMap { record in
        topics.map { OutgoingRecord(topic: $0, key: record.key, headers: Headers(), value: .same(record)) }
      })
  }
}

/// The kind of the broker error that `body` throws.
func kind(_ body: () async throws -> Void) async -> BrokerError.Kind? {
  do { try await body() } catch let error as BrokerError { return error.kind } catch {}
  return nil
}

/// What stands in the tables of a closed or open broker.
func count(_ table: String, in folder: TemporaryFolder) throws -> Int64 {
  try Database(path: "\(folder.path)/broker.db").int("SELECT count(*) FROM \(table)")
}

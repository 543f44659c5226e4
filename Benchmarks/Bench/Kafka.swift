import Glibc
import KafkaBroker
import Pipeline

/// One round on a Kafka cluster; `Benchmarks/C/kafka.c` does the same in C.
///
///     create SERVERS TOPIC …                                  with 24 partitions
///     delete SERVERS TOPIC …
///     produce SERVERS TOPIC COUNT BYTES                       5,000 a call
///     single SERVERS TOPIC COUNT CALLERS                      one of 1 KiB a call
///     consume SERVERS TOPIC COUNT
///     hop SERVERS SOURCE TARGET COUNT BATCH GUARANTEE         three headers are read, three added
///     latency SERVERS SOURCE TARGET COUNT GUARANTEE           100 a second, one hop
///
/// NAME=VALUE behind that sets a property.
struct Kafka {
  static let partitions = 24
  private let words: [String]
  private let broker: KafkaBroker

  static func run(_ words: [String]) async throws {
    let plain = words.filter { !$0.contains("=") }
    guard plain.count >= 3 else { usage() }
    var options = KafkaBroker.Options(servers: plain[1])
    if words.contains("at-least-once") { options.guarantee = .atLeastOnce }
    if let text = getenv("ROTATION"), let number = Int(String(cString: text)) { options.rotation = number }
    for word in words where word.contains("=") {
      let parts = word.split(separator: "=", maxSplits: 1)
      options.properties[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    let bench = Kafka(words: plain, broker: try await KafkaBroker.open(options))
    switch plain[0] {
    case "create":
      try await bench.broker.create(
        plain.dropFirst(2).map { TopicSpecification($0, partitions: partitions, retention: .unlimited) })
    case "delete": try await bench.broker.delete(Array(plain.dropFirst(2)))
    case "produce": try await bench.produce(plain[2], bench.number(3), bench.number(4))
    case "single": try await bench.single(plain[2], bench.number(3), callers: bench.number(4))
    case "consume": try await bench.consume(plain[2], bench.number(3))
    case "hop": try await bench.hop(plain[2], bench.word(3), bench.number(4), bench.number(5))
    case "latency": try await bench.latency(plain[2], bench.word(3), bench.number(4))
    default: usage()
    }
    await bench.broker.close()
  }

  private func word(_ index: Int) -> String {
    guard words.indices.contains(index) else { usage() }
    return words[index]
  }

  private func number(_ index: Int) -> Int {
    guard let number = Int(word(index)) else { usage() }
    return number
  }

  // MARK: Records

  private func record(_ topic: String, _ index: Int, _ value: Bytes) -> OutgoingRecord {
    var headers = Headers()
    for name in ["id", "sender", "received"] { headers.append(name, "0123456789abcdef".utf8) }
    return OutgoingRecord(
      topic: topic, partition: index % Self.partitions, key: Bytes("\(index)"), headers: headers, value: .bytes(value))
  }

  private func value(_ size: Int) -> Bytes { Bytes((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }) }

  private func produce(_ topic: String, _ count: Int, _ size: Int) async throws {
    let value = value(size)
    let meter = Meter()
    for start in stride(from: 0, to: count, by: 5000) {
      try await broker.produce((start..<min(start + 5000, count)).map { record(topic, $0, value) })
    }
    report(count: count, meter)
  }

  private func single(_ topic: String, _ count: Int, callers: Int) async throws {
    let value = value(1024)
    let meter = Meter()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for caller in 0..<callers {
        group.addTask {
          for index in stride(from: caller, to: count, by: callers) {
            try await broker.produce([record(topic, index, value)])
          }
        }
      }
      try await group.waitForAll()
    }
    report(count: count, meter)
  }

  // MARK: Consuming

  private func join(_ topic: String) async throws -> any Consumer {
    try await broker.join(Membership(group: "ours-\(SystemRandom().next())", topics: [topic], instance: "bench"))
  }

  private func consume(_ topic: String, _ count: Int) async throws {
    let consumer = try await join(topic)
    var (done, sum) = (0, 0)
    var meter: Meter?
    while done < count {
      guard case .records(let records) = try await consumer.next(limit: 2000) else { continue }
      if meter == nil { meter = Meter() }
      for record in records {
        sum += try record.headers().bytes("sender")?.count ?? 0
        sum += try await record.value().withUnsafeBytes { Int($0.first ?? 0) }
      }
      done += records.count
    }
    guard let meter, sum > 0 else { return }
    report(count: done, meter)
    await consumer.close()
  }

  private static let added: [(StaticString, StaticString)] = [
    ("hop-id", "0123456789abcdef"), ("hop-stage", "filter"), ("hop-time", "1790000000000"),
  ]

  private func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }

  /// A hop's outputs and progress.
  private func passed(_ records: [Record], to target: String) throws -> Settlement {
    var settlement = Settlement()
    settlement.outputs.reserveCapacity(records.count)
    var last: [TopicPartition: Record] = [:]
    for record in records {
      var headers = try record.headers()
      for (name, value) in Self.added { headers.append(name: bytes(name), value: bytes(value)) }
      settlement.outputs.append(
        OutgoingRecord(
          topic: target, partition: record.topicPartition.partition, key: record.key, headers: headers,
          value: .same(record)))
      last[record.topicPartition] = record
    }
    settlement.progress = last.map {
      .init(topicPartition: $0.key, generation: $0.value.generation, next: $0.value.offset + 1, settled: [])
    }
    return settlement
  }

  private func hop(_ source: String, _ target: String, _ count: Int, _ limit: Int) async throws {
    let consumer = try await join(source)
    var (done, hops) = (0, 0)
    var meter: Meter?
    try await withThrowingTaskGroup(of: Void.self) { group in
      while done < count {
        guard case .records(let records) = try await consumer.next(limit: limit) else { continue }
        hops += 1
        if meter == nil { meter = Meter() }
        done += records.count
        // One settlement is under way while the next batch is made ready, as a stage does it.
        let settlement = try passed(records, to: target)
        try await group.next()
        group.addTask { try await consumer.settle(settlement) }
      }
      try await group.waitForAll()
    }
    if let meter { report(count: done, meter, ("hops", Double(hops))) }
    await consumer.close()
  }

  // MARK: Latency

  /// From a record's acknowledgement at the source until whoever reads the target has it. The first second is not
  /// counted: connections are made then.
  private func latency(_ source: String, _ target: String, _ count: Int) async throws {
    let (consumer, reader) = (try await join(source), try await join(target))
    let clock = SystemClock.shared
    let passing = Task {
      while true {
        guard case .records(let records) = try await consumer.next(limit: 100) else { continue }
        try await consumer.settle(try passed(records, to: target))
      }
    }
    let reading = Task {
      var arrived: [Int: Timestamp] = [:]
      while arrived.count < count {
        guard case .records(let records) = try await reader.next(limit: 100) else { continue }
        let now = clock.now
        for record in records { arrived[Int(record.key.text) ?? -1] = now }
      }
      return arrived
    }
    let value = value(1024)
    let meter = Meter()
    let accepted = try await withThrowingTaskGroup(of: (Int, Timestamp).self) { group in
      let start = clock.now
      for index in 0..<count {
        group.addTask {
          try await broker.produce([record(source, index, value)])
          return (index, clock.now)
        }
        let pause = (start + .milliseconds(10 * (index + 1))) - clock.now
        if pause > .zero { try await clock.sleep(for: pause) }
      }
      return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    let arrived = try await reading.value
    let waits = (100..<count).compactMap { index -> Double? in
      guard let from = accepted[index], let to = arrived[index] else { return nil }
      return Double((to - from).microseconds) / 1000
    }.sorted()
    guard !waits.isEmpty else { usage() }
    report(count: count, meter, ("p50", waits[waits.count / 2]), ("p99", waits[waits.count * 99 / 100]))
    passing.cancel()
    await consumer.close()
    await reader.close()
  }
}

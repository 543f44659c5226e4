import Pipeline

/// What a case works with.
struct Bench: Sendable {
  let broker: any Broker
  let features: BrokerConformance.Features
  let clock: any PipelineClock
  let another: @Sendable (any Broker) async throws -> any Broker
  /// In front of every topic and group, so that a run on a broker that stays meets only itself.
  let prefix: String

  init(
    broker: any Broker, features: BrokerConformance.Features, clock: any PipelineClock,
    another: @escaping @Sendable (any Broker) async throws -> any Broker
  ) {
    self.broker = broker
    self.features = features
    self.clock = clock
    self.another = another
    prefix = "conformance-" + String(SystemRandom().next(), radix: 36)
  }

  func second() async throws -> any Broker { try await another(broker) }

  // MARK: Making things

  func topic(
    _ name: String, partitions: Int = 1, retention: TopicSpecification.Retention = .untilSettled(window: .seconds(3600))
  ) async throws -> String {
    let full = "\(prefix).\(name)"
    try await broker.create([TopicSpecification(full, partitions: partitions, retention: retention)])
    return full
  }

  func group(_ name: String) -> String { "\(prefix).\(name)" }

  func join(
    _ group: String, _ topics: [String], as instance: String = "a", loadsValues: Bool = true,
    on other: (any Broker)? = nil, deadline: Duration = .seconds(10)
  ) async throws -> any Consumer {
    try await (other ?? broker).join(
      Membership(
        group: self.group(group), topics: topics, instance: instance, loadsValues: loadsValues,
        revokeDeadline: deadline))
  }

  /// Where the group stands, as another process sees it that has never read these topics.
  func committed(_ group: String, _ topics: [String]) async throws -> [TopicPartition: Int64] {
    let other = try await second()
    let found = try await other.committed(group: self.group(group), in: topics)
    await other.close()
    return found
  }

  /// Who has what, as another process sees it.
  func members(_ group: String, _ topics: [String]) async throws -> [TopicPartition: String?] {
    let other = try await second()
    let found = try await other.members(group: self.group(group), in: topics)
    await other.close()
    return found
  }

  func record(_ topic: String, _ value: String, key: String = "", partition: Int? = nil) -> OutgoingRecord {
    OutgoingRecord(
      topic: topic, partition: partition, key: Bytes(key), headers: Headers(), value: .bytes(Bytes(value)))
  }

  func copy(of record: Record, to topic: String) -> OutgoingRecord {
    OutgoingRecord(topic: topic, key: record.key, headers: Headers(), value: .same(record))
  }

  func produce(_ topic: String, _ values: [String], partition: Int? = nil) async throws {
    try await broker.produce(values.map { record(topic, $0, key: $0, partition: partition) })
  }

  func numbers(_ range: Range<Int>) -> [String] { range.map { "n\($0)" } }

  // MARK: Waiting

  /// Does `body`, and fails if it takes longer than the engine's patience.
  func within<R: Sendable>(_ what: String, _ body: @escaping @Sendable () async throws -> R) async throws -> R {
    try await withThrowingTaskGroup(of: R?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        try await clock.sleep(for: features.patience)
        return nil
      }
      defer { group.cancelAll() }
      guard let result = try await group.next() ?? nil else {
        throw ConformanceFailure(description: "\(what): not within \(features.patience)")
      }
      return result
    }
  }

  /// The next event.
  func next(_ consumer: any Consumer, limit: Int = 100) async throws -> ConsumerEvent {
    try await within("an event") { try await consumer.next(limit: limit) }
  }

  /// Takes records until there are `count`, giving up whatever has to be given up.
  func take(_ count: Int, from consumer: any Consumer, limit: Int = 100) async throws -> [Record] {
    try await within("\(count) records") {
      var records: [Record] = []
      while records.count < count {
        switch try await consumer.next(limit: limit) {
        case .records(let more): records += more
        case .revoking(let partitions): try await consumer.release(partitions)
        case .assigned, .lost: break
        }
      }
      return records
    }
  }

  /// Takes events until one is what is looked for; records on the way are thrown away.
  func event<R: Sendable>(
    _ what: String, from consumer: any Consumer, _ match: @escaping @Sendable (ConsumerEvent) -> R?
  ) async throws -> R {
    try await within(what) {
      while true {
        if let found = match(try await consumer.next(limit: 100)) { return found }
      }
    }
  }

  func assigned(_ consumer: any Consumer) async throws -> [TopicPartition] {
    try await event("an assignment", from: consumer) { event in
      if case .assigned(let partitions) = event { partitions } else { nil }
    }
  }

  func revoked(_ consumer: any Consumer) async throws -> [TopicPartition] {
    try await event("a revocation", from: consumer) { event in
      if case .revoking(let partitions) = event { partitions } else { nil }
    }
  }

  func lost(_ consumer: any Consumer) async throws -> [TopicPartition] {
    try await event("a loss", from: consumer) { event in
      if case .lost(let partitions) = event { partitions } else { nil }
    }
  }

  /// What comes until a moment passes without any record: for what must *not* happen, where nothing can be awaited.
  func rest(_ consumer: any Consumer, quiet moment: Duration = .milliseconds(200)) async throws -> [String] {
    var result: [String] = []
    while true {
      let more = try await withThrowingTaskGroup(of: [String]?.self) { group in
        group.addTask {
          do {
            guard case .records(let records) = try await consumer.next(limit: 100) else { return [] }
            return try await texts(records)
          } catch let error as BrokerError where error.kind == .cancelled { return nil }
        }
        group.addTask {
          try await clock.sleep(for: moment)
          return nil
        }
        // Both have ended then: a call that was cancelled may still have brought something.
        var found: [String]? = nil
        var isFirst = true
        while let one = try await group.next() {
          if let one { found = (found ?? []) + one }
          if isFirst { group.cancelAll() }
          isFirst = false
        }
        return found
      }
      guard let more else { return result }
      result += more
    }
  }

  // MARK: Settling

  /// The progress that settles these records, in order within each partition.
  func progress(_ records: [Record]) -> [Settlement.Progress] {
    var order: [TopicPartition] = []
    var byPartition: [TopicPartition: [Record]] = [:]
    for record in records {
      if byPartition[record.topicPartition] == nil { order.append(record.topicPartition) }
      byPartition[record.topicPartition, default: []].append(record)
    }
    return order.compactMap { partition in
      guard let settled = byPartition[partition], let last = settled.last else { return nil }
      return Settlement.Progress(
        topicPartition: partition, generation: last.generation, next: last.offset + 1, settled: settled)
    }
  }

  func settle(_ records: [Record], on consumer: any Consumer, outputs: [OutgoingRecord] = []) async throws {
    try await consumer.settle(Settlement(outputs: outputs, progress: progress(records)))
  }

  // MARK: Looking

  /// Everything in a partition.
  func all(_ topic: String, _ partition: Int = 0, on other: (any Broker)? = nil) async throws -> [Record] {
    let broker = other ?? self.broker
    let name = TopicPartition(topic, partition)
    var result: [Record] = []
    guard var offset = try await broker.watermarks([name]).first?.first else { return [] }
    while true {
      let more = try await broker.read(name, from: offset, limit: 500)
      guard let last = more.last else { return result }
      result += more
      offset = last.offset + 1
    }
  }

  func texts(_ records: [Record]) async throws -> [String] {
    var result: [String] = []
    for record in records { result.append(try await record.value().text) }
    return result
  }

  func texts(in topic: String, _ partition: Int = 0) async throws -> [String] { try await texts(all(topic, partition)) }

  func end(_ topic: String, _ partition: Int = 0) async throws -> Int64 {
    try await broker.watermarks([TopicPartition(topic, partition)]).first?.end ?? -1
  }

  // MARK: Expecting

  func expect<T: Equatable>(_ found: T, _ expected: T, _ what: String) throws {
    guard found == expected else {
      throw ConformanceFailure(description: "\(what): expected \(expected), found \(found)")
    }
  }

  func expect(_ condition: Bool, _ what: String) throws {
    guard condition else { throw ConformanceFailure(description: "\(what): does not hold") }
  }

  /// Fails unless `body` throws a broker error of one of these kinds.
  func expectError(_ kinds: BrokerError.Kind..., what: String, _ body: () async throws -> Void) async throws {
    do { try await body() } catch let error as BrokerError {
      guard kinds.contains(error.kind) else {
        throw ConformanceFailure(description: "\(what): expected \(kinds), found \(error.kind): \(error)")
      }
      return
    }
    throw ConformanceFailure(description: "\(what): expected an error \(kinds), and there was none")
  }
}

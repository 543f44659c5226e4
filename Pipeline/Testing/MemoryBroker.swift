public import Pipeline
import Synchronization

/// A broker in plain memory: the contract, and nothing else. For tests of whatever stands on a broker.
///
/// It outlives its "processes": a test that crashes one opens another `connection` on the same `MemoryBroker`.
public final class MemoryBroker: Broker {
  struct Stored: Sendable {
    let offset: Int64
    let at: Timestamp
    let key: Bytes
    let headers: Headers
    let value: Bytes
  }
  struct Owner: Sendable {
    var member: Int?
    var generation: Int64 = 0
    var target: Int?
    var takenAt: Timestamp?
  }
  struct Group: Sendable {
    var topics: [String] = []
    var members: [(id: Int, instance: String)] = []
    var owners: [TopicPartition: Owner] = [:]
    var committed: [TopicPartition: Int64] = [:]
  }
  struct State: Sendable {
    var topics: [String: [[Stored]]] = [:]
    var ends: [TopicPartition: Int64] = [:]
    var groups: [String: Group] = [:]
    var nextMember = 1
    var consumers: [Int: MemoryConsumer] = [:]
    var failure: BrokerError?
  }
  let state = Mutex(State())
  let clock: any PipelineClock

  /// An empty broker.
  public init(clock: any PipelineClock) { self.clock = clock }

  /// Makes every produce and settle fail with this error from now on, before anything happened; nil: no more.
  public func fail(with error: BrokerError?) { state.withLock { $0.failure = error } }

  /// Every record of a topic, all partitions, oldest first within each.
  public func records(_ topic: String) -> [(key: Bytes, headers: Headers, value: Bytes)] {
    state.withLock { ($0.topics[topic] ?? []).flatMap { $0 }.map { ($0.key, $0.headers, $0.value) } }
  }

  /// See `Broker`.
  public func create(_ topics: [TopicSpecification]) async throws(BrokerError) {
    let mismatch = state.withLock { state -> BrokerError? in
      for topic in topics {
        if let existing = state.topics[topic.name] {
          if existing.count != topic.partitions {
            return BrokerError(.mismatch, "\(topic.name) has \(existing.count) partitions, not \(topic.partitions)")
          }
        } else {
          state.topics[topic.name] = Array(repeating: [], count: topic.partitions)
        }
      }
      return nil
    }
    if let mismatch { throw mismatch }
  }

  /// See `Broker`.
  public func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    let refusal = state.withLock { state -> BrokerError? in
      for topic in topics {
        guard let count = state.topics[topic]?.count else { return BrokerError(.unknownTopic, "no topic \(topic)") }
        guard count <= partitions else { return BrokerError(.mismatch, "\(topic) has \(count) partitions") }
        state.topics[topic]?.append(contentsOf: Array(repeating: [], count: partitions - count))
      }
      return nil
    }
    if let refusal { throw refusal }
  }

  /// See `Broker`.
  public func delete(_ topics: [String]) async throws(BrokerError) {
    state.withLock { state in
      for topic in topics { state.topics[topic] = nil }
    }
  }

  /// See `Broker`.
  public func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    state.withLock { state in
      state.topics.filter { $0.key.hasPrefix(prefix) }.map {
        TopicDescription(name: $0.key, partitions: $0.value.count)
      }
      .sorted { $0.name < $1.name }
    }
  }

  /// See `Broker`.
  @discardableResult
  public func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    let values = try await loaded(records)
    let (result, consumers) = state.withLock { state -> (Result<[RecordPosition], BrokerError>, [MemoryConsumer]) in
      if let failure = state.failure { return (.failure(failure), []) }
      return (append(records, values, &state), Array(state.consumers.values).sorted { $0.id < $1.id })
    }
    consumers.forEach { $0.wake.raise() }
    return try result.get()
  }

  func loaded(_ records: [OutgoingRecord]) async throws(BrokerError) -> [Bytes] {
    var values: [Bytes] = []
    for record in records {
      switch record.value {
      case .bytes(let bytes): values.append(bytes)
      case .same(let source): values.append(try await source.value())
      }
    }
    return values
  }

  func append(
    _ records: [OutgoingRecord], _ values: [Bytes], _ state: inout State
  ) -> Result<[RecordPosition], BrokerError> {
    for record in records where state.topics[record.topic] == nil {
      return .failure(BrokerError(.unknownTopic, "no topic \(record.topic)"))
    }
    var positions: [RecordPosition] = []
    for (record, value) in zip(records, values) {
      let count = state.topics[record.topic]?.count ?? 1
      let partition = record.partition ?? Partitioner.partition(of: record.key, among: count)
      let key = TopicPartition(record.topic, partition)
      let offset = state.ends[key, default: 0]
      state.ends[key] = offset + 1
      state.topics[record.topic]?[partition].append(
        Stored(offset: offset, at: clock.now, key: record.key, headers: record.headers, value: value))
      positions.append(RecordPosition(key, offset))
    }
    return .success(positions)
  }

  /// See `Broker`.
  public func join(_ membership: Membership) async throws(BrokerError) -> any Consumer {
    let (consumer, others) = state.withLock { state -> (MemoryConsumer, [MemoryConsumer]) in
      let id = state.nextMember
      state.nextMember += 1
      let consumer = MemoryConsumer(self, membership, id: id)
      var group = state.groups[membership.group] ?? Group()
      group.topics = membership.topics
      if let old = group.members.firstIndex(where: { $0.instance == membership.instance }) {
        let replaced = group.members.remove(at: old).id
        for key in group.owners.keys where group.owners[key]?.member == replaced { group.owners[key]?.member = nil }
      }
      group.members.append((id, membership.instance))
      state.consumers[id] = consumer
      rebalance(&group, state)
      state.groups[membership.group] = group
      return (consumer, Array(state.consumers.values).sorted { $0.id < $1.id })
    }
    others.forEach { $0.wake.raise() }
    return consumer
  }

  func rebalance(_ group: inout Group, _ state: State) {
    let members = group.members.sorted { $0.instance < $1.instance }.map(\.id)
    for topic in group.topics {
      let count = state.topics[topic]?.count ?? 0
      for partition in 0..<count {
        let key = TopicPartition(topic, partition)
        var owner = group.owners[key] ?? Owner()
        owner.target = members.isEmpty ? nil : members[partition * members.count / count]
        if owner.member == nil {
          owner.member = owner.target
          owner.generation += 1
        } else if owner.member != owner.target, owner.takenAt == nil {
          owner.takenAt = clock.now
        }
        group.owners[key] = owner
      }
    }
  }

  func leave(_ consumer: MemoryConsumer) {
    let others = state.withLock { state -> [MemoryConsumer] in
      state.consumers[consumer.id] = nil
      guard var group = state.groups[consumer.membership.group] else { return [] }
      group.members.removeAll { $0.id == consumer.id }
      for key in group.owners.keys where group.owners[key]?.member == consumer.id { group.owners[key]?.member = nil }
      rebalance(&group, state)
      state.groups[consumer.membership.group] = group
      return Array(state.consumers.values).sorted { $0.id < $1.id }
    }
    others.forEach { $0.wake.raise() }
  }

  /// See `Broker`.
  public func read(
    _ partition: TopicPartition, from offset: Int64, limit: Int
  ) async throws(BrokerError) -> [Record] {
    let stored = try partitionRecords(partition).filter { $0.offset >= offset }.prefix(limit)
    return MemoryBatch.records(Array(stored), partition, generation: 0)
  }

  private func partitionRecords(_ partition: TopicPartition) throws(BrokerError) -> [Stored] {
    let found = state.withLock { state -> [Stored]? in
      guard let topic = state.topics[partition.topic], topic.indices.contains(partition.partition) else { return nil }
      return topic[partition.partition]
    }
    guard let found else { throw BrokerError(.unknownTopic, "no partition \(partition)") }
    return found
  }

  /// See `Broker`.
  public func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    var result: [Watermarks] = []
    for partition in partitions {
      let records = try partitionRecords(partition)
      let end = state.withLock { $0.ends[partition, default: 0] }
      result.append(Watermarks(topicPartition: partition, first: records.first?.offset ?? end, end: end))
    }
    return result
  }

  /// See `Broker`.
  public func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    let end = state.withLock { $0.ends[partition, default: 0] }
    return try partitionRecords(partition).first { $0.at >= time }?.offset ?? end
  }

  /// See `Broker`.
  public func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    state.withLock { $0.groups[group]?.committed ?? [:] }.filter { topics.contains($0.key.topic) }
  }

  /// See `Broker`.
  public func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    state.withLock { state in
      guard let group = state.groups[group] else { return [:] }
      return group.owners.filter { topics.contains($0.key.topic) }.mapValues { owner in
        group.members.first { $0.id == owner.member }?.instance
      }
    }
  }

  /// See `Broker`.
  public func close() async {
    let all = state.withLock { Array($0.consumers.values) }
    for consumer in all { await consumer.close() }
  }
}

/// Records in plain memory.
final class MemoryBatch: RecordBatch {
  private let stored: [MemoryBroker.Stored]
  private init(_ stored: [MemoryBroker.Stored]) { self.stored = stored }

  func headers(_ index: Int) throws(BrokerError) -> Headers { stored[index].headers }
  func value(_ index: Int) async throws(BrokerError) -> Bytes { stored[index].value }

  static func records(
    _ stored: [MemoryBroker.Stored], _ partition: TopicPartition, generation: Int64
  ) -> [Record] {
    let batch = MemoryBatch(stored)
    return stored.enumerated().map { index, record in
      Record(
        topicPartition: partition, offset: record.offset, timestamp: record.at, generation: generation,
        key: record.key, valueSize: record.value.count, batch: batch, index: index)
    }
  }
}

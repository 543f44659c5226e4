import Pipeline

/// A broker that tells of every settlement, and passes everything on.
struct CountingBroker: Broker {
  private let broker: any Broker
  private let settled: @Sendable () -> Void

  init(_ broker: any Broker, settled: @escaping @Sendable () -> Void) {
    self.broker = broker
    self.settled = settled
  }

  func create(_ topics: [TopicSpecification]) async throws(BrokerError) { try await broker.create(topics) }
  func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    try await broker.grow(topics, to: partitions)
  }
  func delete(_ topics: [String]) async throws(BrokerError) { try await broker.delete(topics) }
  func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    try await broker.topics(prefix: prefix)
  }
  func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    try await broker.produce(records)
  }
  func join(_ membership: Membership) async throws(BrokerError) -> any Consumer {
    CountingConsumer(consumer: try await broker.join(membership), settled: settled)
  }
  func read(
    _ partition: TopicPartition, from offset: Int64, limit: Int
  ) async throws(BrokerError) -> [Record] { try await broker.read(partition, from: offset, limit: limit) }
  func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    try await broker.watermarks(partitions)
  }
  func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    try await broker.offset(of: partition, at: time)
  }
  func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    try await broker.committed(group: group, in: topics)
  }
  func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    try await broker.members(group: group, in: topics)
  }
  func close() async { await broker.close() }
}

private struct CountingConsumer: Consumer {
  let consumer: any Consumer
  let settled: @Sendable () -> Void

  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent { try await consumer.next(limit: limit) }
  func settle(_ settlement: Settlement) async throws(BrokerError) {
    settled()
    try await consumer.settle(settlement)
  }
  func pause(_ partitions: [TopicPartition]) async throws(BrokerError) { try await consumer.pause(partitions) }
  func resume(_ partitions: [TopicPartition]) async throws(BrokerError) { try await consumer.resume(partitions) }
  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError) {
    try await consumer.seek(partition, to: offset)
  }
  func release(_ partitions: [TopicPartition]) async throws(BrokerError) { try await consumer.release(partitions) }
  func close() async { await consumer.close() }
}

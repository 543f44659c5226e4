public import Pipeline
import Synchronization

/// The broker as one process of a simulation sees it: it can be killed, and it can lie.
///
/// After `kill`, nothing that the process does has any effect: every call fails with `.closed`. Before each call and
/// after it another task may run, so that a crash also falls between a commit and the news of it.
public final class MortalBroker: Broker {
  /// A defect to be found.
  public enum Defect: Sendable {
    /// None.
    case none
    /// Progress is settled first, and the outputs are published afterwards.
    case settlesBeforePublishing
  }

  private let inner: any Broker
  private let defect: Defect
  private let beforeDelivery: (@Sendable ([Record]) async -> Void)?
  private let onDelivery: (@Sendable (Record) -> Void)?
  private let alive = Mutex(true)
  private let consumers = Mutex<[MortalConsumer]>([])

  /// A living view on `broker`. `beforeDelivery` holds up what a consumer is about to be handed, as a network does;
  /// `onDelivery` sees each record then.
  public init(
    _ broker: any Broker, defect: Defect = .none, beforeDelivery: (@Sendable ([Record]) async -> Void)? = nil,
    onDelivery: (@Sendable (Record) -> Void)? = nil
  ) {
    inner = broker
    self.defect = defect
    self.beforeDelivery = beforeDelivery
    self.onDelivery = onDelivery
  }

  /// Ends the process: from here on it changes nothing.
  public func kill() {
    alive.withLock { $0 = false }
    let all = consumers.withLock { consumers in
      defer { consumers = [] }
      return consumers
    }
    for consumer in all { consumer.died.raise() }
  }

  func left(_ consumer: MortalConsumer) { consumers.withLock { $0.removeAll { $0 === consumer } } }

  var isAlive: Bool { alive.withLock { $0 } }

  func living<R>(_ body: () async throws(BrokerError) -> R) async throws(BrokerError) -> R {
    await Task.yield()
    guard isAlive else { throw BrokerError(.closed, "the process is dead") }
    let result = try await body()
    await Task.yield()
    guard isAlive else { throw BrokerError(.closed, "the process is dead") }
    return result
  }

  /// See `Broker`.
  public func create(_ topics: [TopicSpecification]) async throws(BrokerError) {
    try await living { () async throws(BrokerError) in try await inner.create(topics) }
  }
  /// See `Broker`.
  public func inspect(_ topics: [TopicSpecification]) async throws(BrokerError) -> [TopicDifference] {
    try await living { () async throws(BrokerError) in try await inner.inspect(topics) }
  }
  /// See `Broker`.
  public func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    try await living { () async throws(BrokerError) in try await inner.grow(topics, to: partitions) }
  }
  /// See `Broker`.
  public func delete(_ topics: [String]) async throws(BrokerError) {
    try await living { () async throws(BrokerError) in try await inner.delete(topics) }
  }
  /// See `Broker`.
  public func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    try await living { () async throws(BrokerError) in try await inner.topics(prefix: prefix) }
  }
  /// See `Broker`.
  @discardableResult
  public func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    try await living { () async throws(BrokerError) in try await inner.produce(records) }
  }
  /// See `Broker`.
  public func join(_ membership: Membership) async throws(BrokerError) -> any Consumer {
    let consumer = try await living { () async throws(BrokerError) in try await inner.join(membership) }
    let mortal = MortalConsumer(consumer, self, defect, beforeDelivery, onDelivery)
    consumers.withLock { $0.append(mortal) }
    return mortal
  }
  /// See `Broker`.
  public func read(
    _ partition: TopicPartition, from offset: Int64, limit: Int
  ) async throws(BrokerError) -> [Record] {
    try await living { () async throws(BrokerError) in try await inner.read(partition, from: offset, limit: limit) }
  }
  /// See `Broker`.
  public func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    try await living { () async throws(BrokerError) in try await inner.watermarks(partitions) }
  }
  /// See `Broker`.
  public func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    try await living { () async throws(BrokerError) in try await inner.offset(of: partition, at: time) }
  }
  /// See `Broker`.
  public func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    try await living { () async throws(BrokerError) in try await inner.committed(group: group, in: topics) }
  }
  /// See `Broker`.
  public func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    try await living { () async throws(BrokerError) in try await inner.members(group: group, in: topics) }
  }
  /// The shared broker lives on.
  public func close() async {}
}

/// A consumer of a process that can be killed.
final class MortalConsumer: Consumer {
  private let inner: any Consumer
  private let broker: MortalBroker
  private let defect: MortalBroker.Defect
  private let beforeDelivery: (@Sendable ([Record]) async -> Void)?
  private let onDelivery: (@Sendable (Record) -> Void)?
  let died = Signal()

  init(
    _ inner: any Consumer, _ broker: MortalBroker, _ defect: MortalBroker.Defect,
    _ beforeDelivery: (@Sendable ([Record]) async -> Void)?, _ onDelivery: (@Sendable (Record) -> Void)?
  ) {
    self.beforeDelivery = beforeDelivery
    self.onDelivery = onDelivery
    self.inner = inner
    self.broker = broker
    self.defect = defect
  }

  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent {
    let event = try await broker.living { () async throws(BrokerError) -> ConsumerEvent in
      do {
        return try await withThrowingTaskGroup(of: ConsumerEvent?.self) { group in
          group.addTask { try await self.inner.next(limit: limit) }
          group.addTask {
            await self.died.wait()
            return nil
          }
          defer { group.cancelAll() }
          guard let event = try await group.next() ?? nil else {
            throw BrokerError(Task.isCancelled ? .cancelled : .closed, "the process is dead")
          }
          return event
        }
      } catch let error as BrokerError {
        throw error
      } catch {
        throw BrokerError(.cancelled, "cancelled")
      }
    }
    if case .records(let records) = event {
      await beforeDelivery?(records)
      if let onDelivery { records.forEach(onDelivery) }
    }
    return event
  }

  func settle(_ settlement: Settlement) async throws(BrokerError) {
    switch defect {
    case .none:
      try await broker.living { () async throws(BrokerError) in try await inner.settle(settlement) }
    case .settlesBeforePublishing:
      try await broker.living { () async throws(BrokerError) in
        try await inner.settle(Settlement(progress: settlement.progress))
      }
      try await broker.produce(settlement.outputs)
    }
  }

  func pause(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try await broker.living { () async throws(BrokerError) in try await inner.pause(partitions) }
  }
  func resume(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try await broker.living { () async throws(BrokerError) in try await inner.resume(partitions) }
  }
  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError) {
    try await broker.living { () async throws(BrokerError) in try await inner.seek(partition, to: offset) }
  }
  func release(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try await broker.living { () async throws(BrokerError) in try await inner.release(partitions) }
  }
  /// A dead process leaves no group: whoever joins under its name replaces it.
  func close() async {
    broker.left(self)
    if broker.isAlive { await inner.close() }
  }
}

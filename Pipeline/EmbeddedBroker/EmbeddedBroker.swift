public import Pipeline
import Synchronization

/// Topics in SQLite: one machine, any number of processes.
///
/// A record is durable (fsync) when `produce` or `settle` returns; everything that waits at that moment shares the
/// commit. Content is stored once: a hop that passes it on unchanged writes a reference. Processes on the same folder
/// share groups, and wake each other within milliseconds.
///
/// `open` makes one in a folder, with threads of its own; `inMemory` one that runs where its caller runs, for tests and
/// simulations.
public final class EmbeddedBroker: Broker {
  /// What can be chosen.
  public struct Options: Sendable {
    /// Bytes that must be left on the disk for new records to be taken; 0: do not look.
    public var reserve: Int64 = 64 << 20
    /// Bytes of a file that is given up when the disk is full, so that what waits can be worked off.
    public var ballast: Int64 = 16 << 20
    /// How many bytes the disk has left, instead of asking the system.
    public var freeSpace: (@Sendable () -> Int64?)?
    /// Values of more bytes than this are stored apart, once, and referred to.
    public var inlineLimit = 1024
    /// How often a process with consumers says that it is alive.
    public var beat = Duration.seconds(3)
    /// How long a process may be silent before its partitions are given to others.
    public var lease = Duration.seconds(10)
    /// How long to wait while another process writes, in milliseconds.
    public var busyMilliseconds = 10_000
    /// SQLite's page cache, in KiB, for each of two connections.
    public var cacheKiB = 16 * 1024
    /// The most pages of 4 KiB that the database may have; nil: as many as the disk holds.
    public var maximumPages: Int64?

    /// The usual ones.
    public init() {}

    var settings: StoreSettings {
      StoreSettings(
        inlineLimit: max(0, inlineLimit), reserve: reserve, freeSpace: freeSpace ?? { nil }, beat: beat, lease: lease)
    }
  }

  let queue: any StoreQueue
  let clock: any PipelineClock
  private let options: Options
  let heart: Heart

  private struct State {
    var isClosed = false
    var consumers: [EmbeddedConsumer] = []
  }
  private let state = Mutex(State())

  private init(queue: any StoreQueue, clock: any PipelineClock, options: Options) {
    self.queue = queue
    self.clock = clock
    self.options = options
    heart = Heart(session: queue.newSession())
    queue.wakes.add(heart)
  }

  // MARK: Opening

  /// Opens the broker in `folder`, which is made if it is not there.
  ///
  /// - Throws: `.corrupt`, `.newerVersion`, `.notPermitted`, `.storageFull`, `.mismatch` (another program's database).
  public static func open(
    folder: String, clock: any PipelineClock, options: Options = Options()
  ) async throws(BrokerError) -> EmbeddedBroker {
    let queue = try await ThreadStoreQueue(path: folder, options: options, clock: clock)
    return EmbeddedBroker(queue: queue, clock: clock, options: options)
  }

  /// A broker whose topics live as long as it does. Runs on its callers, without a thread, and takes all time from
  /// `clock`: under a seeded executor every run repeats.
  ///
  /// - Parameter beforeEach: awaited before each operation on the store, so that others may come in between.
  public static func inMemory(
    clock: any PipelineClock, options: Options = Options(), beforeEach: (@Sendable () async -> Void)? = nil
  ) throws(BrokerError) -> EmbeddedBroker {
    let queue = try InlineStoreQueue(settings: options.settings, clock: clock, yield: beforeEach)
    return EmbeddedBroker(queue: queue, clock: clock, options: options)
  }

  /// Another broker on the same topics, as another process would have. Only of a broker in memory.
  public func sibling() throws(BrokerError) -> EmbeddedBroker {
    guard queue is InlineStoreQueue else {
      throw BrokerError(.other, "only a broker in memory has siblings", hint: "open the folder again")
    }
    return EmbeddedBroker(queue: queue, clock: clock, options: options)
  }

  /// What a process finds that starts after all others were killed: the same topics, and nobody who waits. The tasks
  /// that waited are never resumed. Only of a broker in memory.
  public func afterCrash() throws(BrokerError) -> EmbeddedBroker {
    queue.wakes.forgetAll()
    return try sibling()
  }

  // MARK: Topics and records

  /// See `Broker`.
  public func create(_ topics: [TopicSpecification]) async throws(BrokerError) {
    try await commit { store throws(BrokerError) in try store.create(topics) }
  }

  /// See `Broker`. All or none.
  public func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    try await commit { store throws(BrokerError) in try store.grow(topics, to: partitions) }
  }

  /// See `Broker`.
  public func delete(_ topics: [String]) async throws(BrokerError) {
    try await commit { store throws(BrokerError) in try store.delete(topics) }
  }

  /// See `Broker`.
  public func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    try await read { store throws(BrokerError) in try store.describe(prefix: prefix) }
  }

  /// See `Broker`.
  @discardableResult
  public func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    guard !records.isEmpty else { return [] }
    let own = try await loaded(records)
    return try await commit { store throws(BrokerError) in try store.produce(own) }
  }

  /// See `Broker`.
  public func read(
    _ partition: TopicPartition, from offset: Int64, limit: Int
  ) async throws(BrokerError) -> [Record] {
    try await read { store throws(BrokerError) in try store.read(partition, from: offset, limit: limit) }
  }

  /// See `Broker`.
  public func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    try await read { store throws(BrokerError) in try store.watermarks(partitions) }
  }

  /// See `Broker`. Found by halving: if the machine's clock was set back, by that much inexact.
  public func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    try await read { store throws(BrokerError) in try store.offset(partition, at: time) }
  }

  // MARK: Groups

  /// See `Broker`.
  public func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    try await read { store throws(BrokerError) in try store.committed(group).filter { topics.contains($0.key.topic) } }
  }

  /// See `Broker`.
  public func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    try await read { store throws(BrokerError) in try store.members(group).filter { topics.contains($0.key.topic) } }
  }

  /// See `Broker`.
  public func join(_ membership: Membership) async throws(BrokerError) -> any Consumer {
    let (member, layout) = try await enroll(membership)
    let consumer = EmbeddedConsumer(self, membership, member, layout, idle: options.beat)
    let isClosed = state.withLock { state in
      if !state.isClosed { state.consumers.append(consumer) }
      return state.isClosed
    }
    if isClosed {
      await consumer.close()
      throw .closed
    }
    return consumer
  }

  /// Becomes a member, again if need be.
  func enroll(
    _ membership: Membership
  ) async throws(BrokerError) -> (member: BrokerStore.Member, layout: BrokerStore.Layout) {
    let session = heart.session
    heart.isBeating = true
    return try await commit { store throws(BrokerError) in try store.join(membership, session: session) }
  }

  func forget(_ consumer: EmbeddedConsumer) {
    state.withLock { $0.consumers.removeAll { $0 === consumer } }
  }

  // MARK: Ending

  /// See `Broker`. Values that were not loaded yet cannot be loaded any more.
  public func close() async {
    let consumers = state.withLock { state -> [EmbeddedConsumer]? in
      guard !state.isClosed else { return nil }
      state.isClosed = true
      return state.consumers
    }
    guard let consumers else { return }
    for consumer in consumers { await consumer.close() }
    queue.wakes.remove(heart)
    if heart.isBeating {
      let session = heart.session
      _ = try? await queue.commit { store throws(BrokerError) in try store.end(session) }
    }
    await queue.close()
  }

  // MARK: Operations

  /// How many transactions this process has made durable since the broker was opened: what waits together shares one.
  public var commits: Int { queue.commits }

  private var isClosed: Bool { state.withLock { $0.isClosed } }

  func commit<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    if isClosed { throw .closed }
    return try await queue.commit(body)
  }

  func read<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    if isClosed { throw .closed }
    return try await queue.read(body)
  }

  /// The records, with the values of other brokers' records loaded: only this one's own can be referred to.
  func loaded(_ records: [OutgoingRecord]) async throws(BrokerError) -> [OutgoingRecord] {
    func isForeign(_ record: OutgoingRecord) -> Record? {
      guard case .same(let original) = record.value else { return nil }
      if let batch = original.origin.batch as? EmbeddedBatch, batch.identity === queue.identity { return nil }
      return original
    }
    guard records.contains(where: { isForeign($0) != nil }) else { return records }
    var result: [OutgoingRecord] = []
    result.reserveCapacity(records.count)
    for record in records {
      guard let original = isForeign(record) else {
        result.append(record)
        continue
      }
      result.append(
        OutgoingRecord(
          topic: record.topic, partition: record.partition, key: record.key, headers: record.headers,
          value: .bytes(try await original.value())))
    }
    return result
  }
}

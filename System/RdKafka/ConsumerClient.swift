import CRdKafka

/// A member of a group, or a reader without one. Used by one thread at a time.
///
/// Messages come from the queues of partitions; `poll` brings rebalances and errors only.
public final class ConsumerClient {
  /// What `poll` may bring.
  public enum Event: Sendable {
    /// These are to be assigned: call `assign`, with the offsets to begin at.
    case assign([PartitionOffset])
    /// These are to be given up: call `unassign`. If they are lost, others may have them already.
    case revoke([PartitionOffset], isLost: Bool)
    /// The client has ended.
    case failed(KafkaError)
  }

  private let client: Client
  private var queue: OpaquePointer?

  /// - Parameter wake: called on librdkafka's threads when there is something to poll or to take.
  public init(_ settings: [String: String], wake: @escaping @Sendable () -> Void) throws(KafkaError) {
    client = try Client(RD_KAFKA_CONSUMER, settings, wake: wake)
    rd_kafka_poll_set_consumer(client.raw)
    queue = rd_kafka_queue_get_consumer(client.raw)
    if let queue { client.watch(queue) }
  }

  deinit { if let queue { rd_kafka_queue_destroy(queue) } }

  /// Joins the group for these topics.
  public func subscribe(_ topics: [String]) throws(KafkaError) {
    // Before librdkafka 2.3, freeing a member that has joined and was never assigned anything ends the process.
    client.events.mustNotBeFreed = true
    try PartitionList.with(topics.map { PartitionOffset(topic: $0, partition: -1) }) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_subscribe(client.raw, list))
    }
  }

  /// Gives everything up and leaves the group, once the revocation that follows was answered. Static members leave too,
  /// which they do not when merely closed.
  public func unsubscribe() { rd_kafka_unsubscribe(client.raw) }

  /// What happened, without waiting.
  public func poll() -> Event? {
    if client.events.rebalances.isEmpty, let message = rd_kafka_consumer_poll(client.raw, 0) {
      defer { rd_kafka_message_destroy(message) }
      if message.pointee.err == RD_KAFKA_RESP_ERR__FATAL, let error = client.fatalError {
        client.events.rebalances.append(.failed(error))
      } else if client.events.rebalances.isEmpty {
        // Passing trouble, which librdkafka deals with. There may be more behind it.
        client.events.wake?()
      }
    }
    return client.events.rebalances.isEmpty ? nil : client.events.rebalances.removeFirst()
  }

  /// Begins to fetch at the offsets given. Answers an assignment, whole or incremental as the group's protocol has it.
  public func assign(_ partitions: [PartitionOffset], incrementally: Bool) throws(KafkaError) {
    try PartitionList.with(partitions) { list throws(KafkaError) in
      if incrementally {
        try KafkaError.check(rd_kafka_incremental_assign(client.raw, list))
      } else {
        try KafkaError.check(rd_kafka_assign(client.raw, list))
      }
    }
  }

  /// Ends fetching; answers a revocation.
  public func unassign(_ partitions: [PartitionOffset], incrementally: Bool) throws(KafkaError) {
    guard incrementally else { return try KafkaError.check(rd_kafka_assign(client.raw, nil)) }
    try PartitionList.with(partitions) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_incremental_unassign(client.raw, list))
    }
  }

  /// What the group has committed; `PartitionOffset.none` where it has nothing. Waits for transactions that are being
  /// ended.
  public func committed(_ partitions: [PartitionOffset], milliseconds: Int) throws(KafkaError) -> [PartitionOffset] {
    try PartitionList.with(partitions) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_committed(client.raw, list, Int32(clamping: milliseconds)))
      try PartitionList.check(list)
      return PartitionList.read(list)
    }
  }

  /// Goes on elsewhere in a partition that is assigned. What was fetched ahead is dropped.
  public func seek(_ place: PartitionOffset, milliseconds: Int) throws(KafkaError) {
    // Before librdkafka 2.1 the time that is left is taken for microseconds.
    let patience = rd_kafka_version() < 0x0201_0000 ? milliseconds * 1000 : milliseconds
    try PartitionList.with([place]) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_seek_partitions(client.raw, list, Int32(clamping: patience)))
      try PartitionList.check(list)
    }
  }

  /// The partition's own queue. To be made before the partition is assigned.
  public func queue(topic: String, partition: Int) -> PartitionQueue? {
    PartitionQueue(client, topic: topic, partition: partition)
  }

  /// An empty batch to take messages into.
  public func batch() -> MessageBatch { MessageBatch(client) }

  /// This member of this generation, as it is now; nil when the group does not know it: a transaction that named no
  /// member would be taken from anybody.
  public func membership() -> GroupMembership? {
    rd_kafka_consumer_group_metadata(client.raw).map { GroupMembership($0, client) }.flatMap { $0.isMember ? $0 : nil }
  }

  /// Ends consuming; what was taken stays readable. Takes at most five seconds.
  public func close() {
    if let queue {
      rd_kafka_queue_cb_event_enable(queue, nil, nil)
      rd_kafka_queue_destroy(queue)
      self.queue = nil
    }
    client.events.isClosing = true
    guard let closing = rd_kafka_queue_new(client.raw) else { return }
    defer { rd_kafka_queue_destroy(closing) }
    if let error = rd_kafka_consumer_close_queue(client.raw, closing) { return rd_kafka_error_destroy(error) }
    // Before librdkafka 2.4 an assignment that comes meanwhile, or was never answered, keeps it from closing for ever.
    for _ in 0..<50 where rd_kafka_consumer_closed(client.raw) == 0 { rd_kafka_queue_poll_callback(closing, 100) }
    if rd_kafka_consumer_closed(client.raw) == 0 { client.events.mustNotBeFreed = true }
  }
}

/// A member of a group under one generation: what a transaction names when it commits offsets.
public final class GroupMembership: @unchecked Sendable {
  // Safe to share: never changed, and librdkafka's handles are thread-safe.
  let raw: OpaquePointer
  private let client: Client
  /// The group's generation; -1 when not in it.
  public let generation: Int32
  /// Whether the group knows this member.
  let isMember: Bool

  init(_ raw: OpaquePointer, _ client: Client) {
    self.raw = raw
    self.client = client
    // The serialised form is the only way to the generation: magic, generation (4 bytes of this machine), group id and
    // member id, each ended by a zero.
    var (buffer, size): (UnsafeMutableRawPointer?, Int) = (nil, 0)
    var (generation, isMember) = (Int32(-1), false)
    if let error = rd_kafka_consumer_group_metadata_write(raw, &buffer, &size) { rd_kafka_error_destroy(error) }
    if let buffer {
      let bytes = UnsafeRawBufferPointer(start: buffer, count: size)
      if let start = bytes.firstIndex(of: UInt8(ascii: ":")).map({ $0 + 1 }), start + 4 < size,
        let groupEnd = bytes[(start + 4)...].firstIndex(of: 0), groupEnd + 1 < size
      {
        generation = bytes.loadUnaligned(fromByteOffset: start, as: Int32.self)
        isMember = bytes[groupEnd + 1] != 0
      }
      rd_kafka_mem_free(nil, buffer)
    }
    self.generation = generation
    self.isMember = isMember && generation >= 0
  }

  deinit { rd_kafka_consumer_group_metadata_destroy(raw) }

  /// Commits offsets without a transaction, if the group still is at this generation. May be called on any thread.
  public func commit(_ offsets: [PartitionOffset], milliseconds: Int) throws(KafkaError) {
    // librdkafka names the generation that it is at, whatever this one is.
    guard let now = rd_kafka_consumer_group_metadata(client.raw).map({ GroupMembership($0, client) }),
      now.isMember, now.generation == generation
    else { throw KafkaError(RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION) }
    let queue = rd_kafka_queue_new(client.raw)
    defer { rd_kafka_queue_destroy(queue) }
    try PartitionList.with(offsets) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_commit_queue(client.raw, list, queue, nil, nil))
    }
    guard let event = rd_kafka_queue_poll(queue, Int32(clamping: milliseconds)) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
    defer { rd_kafka_event_destroy(event) }
    try KafkaError.check(rd_kafka_event_error(event))
    if let list = rd_kafka_event_topic_partition_list(event) { try PartitionList.check(list) }
  }
}

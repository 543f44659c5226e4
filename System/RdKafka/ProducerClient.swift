import CRdKafka

/// A producer, transactional if the settings name a `transactional.id`. Used by one thread at a time.
public final class ProducerClient {
  /// What became of a record.
  public struct Report: Sendable {
    /// What the caller named the record.
    public let token: Int
    /// Its offset, if it was appended.
    public let offset: Int64
    /// Why it was not.
    public let error: KafkaError?
    /// Whether it may be there in spite of the error.
    public let mayBeThere: Bool
  }

  private let client: Client
  private var topics: [String: OpaquePointer] = [:]
  private var last: (topic: String, handle: OpaquePointer)?

  /// A producer.
  ///
  /// - Parameter wake: called on librdkafka's threads when there are reports to serve.
  public init(_ settings: [String: String], wake: (@Sendable () -> Void)? = nil) throws(KafkaError) {
    client = try Client(RD_KAFKA_PRODUCER, settings, wake: wake)
    if wake != nil, let queue = rd_kafka_queue_get_main(client.raw) {
      client.watch(queue)
      rd_kafka_queue_destroy(queue)
    }
  }

  deinit {
    // What still waits belongs to nobody: without this, freeing the client would wait for it.
    rd_kafka_purge(client.raw, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
    for topic in topics.values { rd_kafka_topic_destroy(topic) }
  }

  /// The error that ended the client, if one did.
  public var fatalError: KafkaError? { client.fatalError }

  // MARK: Transactions

  /// Takes the transactional id over: whoever had it is fenced, and what it left open is ended.
  public func initTransactions(milliseconds: Int) throws(KafkaError) {
    try KafkaError.check(rd_kafka_init_transactions(client.raw, Int32(clamping: milliseconds)))
  }
  /// Begins a transaction.
  public func begin() throws(KafkaError) { try KafkaError.check(rd_kafka_begin_transaction(client.raw)) }
  /// Makes the offsets part of the transaction, if the group still is at that membership's generation.
  public func sendOffsets(
    _ offsets: [PartitionOffset], of membership: GroupMembership, milliseconds: Int
  ) throws(KafkaError) {
    try PartitionList.with(offsets) { list throws(KafkaError) in
      try KafkaError.check(
        rd_kafka_send_offsets_to_transaction(client.raw, list, membership.raw, Int32(clamping: milliseconds)))
    }
  }
  /// Waits for every record, then ends the transaction: all of it counts.
  public func commit(milliseconds: Int) throws(KafkaError) {
    try KafkaError.check(rd_kafka_commit_transaction(client.raw, Int32(clamping: milliseconds)))
  }
  /// Ends the transaction: nothing of it counts.
  public func abort(milliseconds: Int) throws(KafkaError) {
    try KafkaError.check(rd_kafka_abort_transaction(client.raw, Int32(clamping: milliseconds)))
  }

  /// Gives the producer up with records in hand, and keeps what they point to until librdkafka is done with them.
  public func abandon(keeping values: some Sendable) { client.events.kept = values }

  // MARK: Records

  /// Takes a record into the producer's queue. `token` comes back in its report.
  ///
  /// The value is not copied: it has to stay where it is until its report, or, if the producer is given up before, until
  /// librdkafka is done with it. See `abandon`.
  ///
  /// - Throws: kind `queueFull`: call `serve` and try again, with new headers.
  public func produce(
    topic: String, partition: Int, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    headers: HeaderList?, token: Int
  ) throws(KafkaError) {
    let handle = try handle(topic)
    let error = crdkafka_produce(
      client.raw, handle, Int32(clamping: partition), key.baseAddress, key.count, value.baseAddress, value.count,
      headers?.raw, UnsafeMutableRawPointer(bitPattern: token))
    if error == RD_KAFKA_RESP_ERR_NO_ERROR { headers?.wasTaken() }
    try KafkaError.check(error)
  }

  /// Waits for reports, at most so long.
  public func serve(milliseconds: Int) { rd_kafka_poll(client.raw, Int32(clamping: milliseconds)) }

  /// Waits until every record has its report, at most so long.
  public func flush(milliseconds: Int) throws(KafkaError) {
    try KafkaError.check(rd_kafka_flush(client.raw, Int32(clamping: milliseconds)))
  }

  /// Whether one of the reports that were not taken yet is of a failure.
  public var hasFailures: Bool { client.events.reports.contains { $0.error != nil } }

  /// The reports that came since the last call.
  public func takeReports() -> [Report] {
    defer { client.events.reports.removeAll(keepingCapacity: true) }
    return client.events.reports
  }

  private func handle(_ topic: String) throws(KafkaError) -> OpaquePointer {
    // Most records go where the one before went.
    if let last, last.topic == topic { return last.handle }
    guard let handle = topics[topic] ?? rd_kafka_topic_new(client.raw, topic, nil) else {
      throw KafkaError(rd_kafka_last_error())
    }
    topics[topic] = handle
    last = (topic, handle)
    return handle
  }
}

/// The headers of a record that is about to be produced.
public final class HeaderList {
  private(set) var raw: OpaquePointer?

  /// Empty, with room for `capacity`.
  public init(capacity: Int) { raw = rd_kafka_headers_new(capacity) }

  deinit { if let raw { rd_kafka_headers_destroy(raw) } }

  /// Adds a header; both parts are copied.
  public func append(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    guard let raw else { return }
    // A null value is no empty value to librdkafka, and comes back as one all the same: as no bytes.
    withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { nothing in
      _ = rd_kafka_header_add(
        raw, (name.baseAddress ?? UnsafeRawPointer(nothing.baseAddress))?.assumingMemoryBound(to: CChar.self),
        name.count, value.baseAddress ?? UnsafeRawPointer(nothing.baseAddress), value.count)
    }
  }

  func wasTaken() { raw = nil }
}

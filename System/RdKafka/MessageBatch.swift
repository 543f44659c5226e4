import CRdKafka
import Glibc
import Synchronization

/// Messages as librdkafka fetched them: views on its memory, freed together with the last reference to the batch.
public final class MessageBatch: @unchecked Sendable {
  // Safe to share: messages are added by the one that fills the batch, before it is handed out; reading headers caches
  // them in the message, and is done under a lock.
  private var messages: [UnsafeMutablePointer<rd_kafka_message_t>] = []
  private let client: Client
  private let headerLock = Mutex(())

  init(_ client: Client) { self.client = client }

  deinit { for message in messages { rd_kafka_message_destroy(message) } }

  /// How many there are.
  public var count: Int { messages.count }

  /// Takes the message over; what is none is freed and described.
  func append(_ message: UnsafeMutablePointer<rd_kafka_message_t>) -> PartitionQueue.Found? {
    let error = message.pointee.err
    if error == RD_KAFKA_RESP_ERR_NO_ERROR {
      messages.append(message)
      return nil
    }
    defer { rd_kafka_message_destroy(message) }
    if error == RD_KAFKA_RESP_ERR__PARTITION_EOF { return .end(message.pointee.offset) }
    return .failed(KafkaError(error, String(cString: rd_kafka_message_errstr(message))))
  }

  /// The offset of message `index`.
  public func offset(_ index: Int) -> Int64 { messages[index].pointee.offset }
  /// When it was appended or made, in milliseconds since 1970, as the topic is set up; -1 if unknown.
  public func timestamp(_ index: Int) -> Int64 { rd_kafka_message_timestamp(messages[index], nil) }
  /// Its key: valid as long as the batch.
  public func key(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: messages[index].pointee.key, count: messages[index].pointee.key_len)
  }
  /// Its value: valid as long as the batch.
  public func value(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: messages[index].pointee.payload, count: messages[index].pointee.len)
  }

  /// Decodes its headers, in order; name and value are valid inside `body` only.
  public func forEachHeader(
    _ index: Int, _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void
  ) throws(KafkaError) {
    var headers: OpaquePointer?
    let error = headerLock.withLock { _ in rd_kafka_message_headers(messages[index], &headers) }
    if error == RD_KAFKA_RESP_ERR__NOENT { return }
    try KafkaError.check(error)
    var at = 0
    var (name, value, size): (UnsafePointer<CChar>?, UnsafeRawPointer?, Int) = (nil, nil, 0)
    while rd_kafka_header_get_all(headers, at, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR {
      if let name {
        body(
          UnsafeRawBufferPointer(start: name, count: strlen(name)), UnsafeRawBufferPointer(start: value, count: size))
      }
      at += 1
    }
  }
}

/// One partition's fetched messages, apart from those of the others: what is not taken stays here, and nothing is
/// fetched beyond what the client was set up to keep ready. So pausing is not taking.
public final class PartitionQueue {
  private let client: Client
  private let raw: OpaquePointer
  /// Nothing behind this is handed out: librdkafka has skipped something.
  private var damage: KafkaError?

  /// What was found in the queue behind the messages.
  public enum Found {
    /// Nothing more, for now.
    case nothing
    /// The end of the partition: the next message gets this offset or a later one.
    case end(Int64)
    /// The partition cannot be read on.
    case failed(KafkaError)
  }

  init?(_ client: Client, topic: String, partition: Int) {
    guard let raw = rd_kafka_queue_get_partition(client.raw, topic, Int32(clamping: partition)) else { return nil }
    self.client = client
    self.raw = raw
    // Once set by the application, librdkafka does not forward the queue to the consumer's again.
    rd_kafka_queue_forward(raw, nil)
    client.watch(raw)
  }

  deinit {
    rd_kafka_queue_cb_event_enable(raw, nil, nil)
    rd_kafka_queue_destroy(raw)
  }

  /// Takes at most `limit` messages into `batch`. Waits for the first no longer than `milliseconds`.
  ///
  /// Behind damage there is nothing more, until `goOn`.
  public func take(_ limit: Int, into batch: MessageBatch, milliseconds: Int) -> Found {
    if let damage { return .failed(damage) }
    guard milliseconds > 0, limit > 0 else { return take(limit) { batch } }
    guard let message = rd_kafka_consume_queue(raw, Int32(clamping: milliseconds)) else { return .nothing }
    if let found = batch.append(message) { return noticed(found) }
    return take(limit - 1) { batch }
  }

  /// Takes at most `limit` messages into the batch, which is made if there are any. Does not wait.
  public func take(_ limit: Int, into batch: inout MessageBatch?) -> Found {
    take(limit) {
      if let batch { return batch }
      let new = MessageBatch(client)
      batch = new
      return new
    }
  }

  private func take(_ limit: Int, _ batch: () -> MessageBatch) -> Found {
    if let damage { return .failed(damage) }
    guard limit > 0 else { return .nothing }
    var found = Found.nothing
    withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<rd_kafka_message_t>?.self, capacity: limit) { room in
      let count = rd_kafka_consume_batch_queue(raw, 0, room.baseAddress, limit)
      guard count > 0 else { return }
      let batch = batch()
      for message in room[..<count] {
        guard let message else { continue }
        if damage != nil {
          rd_kafka_message_destroy(message)
        } else if let one = batch.append(message) {
          found = noticed(one)
        }
      }
    }
    return found
  }

  private func noticed(_ found: Found) -> Found {
    if case .failed(let error) = found, error.isDamage { damage = error }
    return found
  }

  /// Hands messages out again: those of another place.
  public func goOn() { damage = nil }
}

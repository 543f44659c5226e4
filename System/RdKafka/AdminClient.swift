import CRdKafka

/// Questions about a cluster, and changes to its topics. Every call waits for its answer; one at a time.
public final class AdminClient {
  let client: Client

  /// - Parameter settings: as of a consumer; `isolation.level` decides what counts as the end of a partition.
  public init(_ settings: [String: String]) throws(KafkaError) {
    client = try Client(RD_KAFKA_CONSUMER, settings, keepsTrouble: true)
  }

  /// Returns when a broker answers.
  public func ping(milliseconds: Int) throws(KafkaError) {
    var found: UnsafePointer<rd_kafka_metadata>?
    try KafkaError.check(rd_kafka_metadata(client.raw, 0, nil, &found, Int32(clamping: milliseconds)))
    if let found { rd_kafka_metadata_destroy(found) }
  }

  /// What stands between this client and the brokers, such as a wrong password, as far as librdkafka has said so since
  /// the last call. A call that waits in vain only says that nobody answered.
  public func takeTrouble() -> [KafkaError] {
    rd_kafka_poll(client.raw, 0)
    defer { client.events.trouble = [] }
    return client.events.trouble
  }

  /// A question to a group's coordinator was given up: the client is to be thrown away at once. librdkafka (2.0.2 to 2.15
  /// at least) would end the process when the coordinator comes back to a question that has timed out in there.
  public private(set) var isSpent = false

  /// Asks a question whose answer is an event.
  ///
  /// - Parameter isCoordinated: whether it goes to a group's coordinator; see `isSpent`.
  func ask<R>(
    _ kind: rd_kafka_admin_op_t, _ milliseconds: Int, isCoordinated: Bool = false,
    question: (OpaquePointer?, OpaquePointer?) -> Void, answer: (OpaquePointer) throws(KafkaError) -> R
  ) throws(KafkaError) -> R {
    let options = rd_kafka_AdminOptions_new(client.raw, kind)
    defer { rd_kafka_AdminOptions_destroy(options) }
    // Never over in there before we give it up.
    let limit = isCoordinated ? 3_600_000 : milliseconds
    rd_kafka_AdminOptions_set_request_timeout(options, Int32(clamping: limit), nil, 0)
    let queue = rd_kafka_queue_new(client.raw)
    defer { rd_kafka_queue_destroy(queue) }
    question(options, queue)
    guard let event = rd_kafka_queue_poll(queue, Int32(clamping: isCoordinated ? milliseconds : milliseconds + 1000))
    else {
      isSpent = isSpent || isCoordinated
      throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
    defer { rd_kafka_event_destroy(event) }
    let error = rd_kafka_event_error(event)
    if error != RD_KAFKA_RESP_ERR_NO_ERROR {
      throw KafkaError(error, rd_kafka_event_error_string(event).map { String(cString: $0) })
    }
    return try answer(event)
  }
}

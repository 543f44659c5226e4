import CRdKafka

/// What librdkafka or a broker refused.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
  /// The kinds that a caller may have to tell apart; the others are `other`.
  public enum Kind: Sendable {
    /// No answer in time, or nobody to ask.
    case unavailable
    /// No such topic or partition.
    case unknownTopic
    /// The topic is there already.
    case topicExists
    /// The offset is not there (any more).
    case outOfRange
    /// The record or batch is beyond a limit.
    case tooLarge
    /// Another member or producer took the name.
    case fenced
    /// The group has moved on: this generation or member is not its present one.
    case staleGroup
    /// The group's offsets wait for a transaction to end.
    case unstableOffsets
    /// Refused by an access rule, or the credentials or certificates are wrong.
    case notPermitted
    /// A property is not known, or does not take that value.
    case badSetting
    /// The partition has been read to its end.
    case partitionEnd
    /// The partition is not being fetched.
    case notFetching
    /// The producer's queue is full: serve it and try again.
    case queueFull
    /// Something else.
    case other
  }

  /// What a caller can decide on.
  public let kind: Kind
  /// The code (`rd_kafka_resp_err_t`): negative ones are librdkafka's own.
  public let code: Int32
  /// librdkafka's own words.
  public let message: String
  /// The client cannot be used any more.
  public let isFatal: Bool
  /// The same call may be made again, and goes on where it was.
  public let isRetriable: Bool
  /// The transaction has to be aborted.
  public let requiresAbort: Bool

  /// There was no answer in time.
  public static let timedOut = KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)

  /// Takes the error over and frees it.
  init(_ error: OpaquePointer) {
    code = rd_kafka_error_code(error).rawValue
    kind = Self.kind(rd_kafka_error_code(error))
    message = String(cString: rd_kafka_error_string(error))
    isFatal = rd_kafka_error_is_fatal(error) != 0
    isRetriable = rd_kafka_error_is_retriable(error) != 0
    requiresAbort = rd_kafka_error_txn_requires_abort(error) != 0
    rd_kafka_error_destroy(error)
  }

  /// What the settings of a client are refused for.
  init(badSetting message: String) {
    self.init(RD_KAFKA_RESP_ERR__INVALID_ARG, message, kind: .badSetting)
  }

  init(_ error: rd_kafka_resp_err_t, _ message: String? = nil, isFatal: Bool = false, kind: Kind? = nil) {
    code = error.rawValue
    self.kind = kind ?? Self.kind(error)
    self.message = message ?? String(cString: rd_kafka_err2str(error))
    self.isFatal = isFatal
    isRetriable = false
    requiresAbort = false
  }

  /// It is about who we are, or who the broker is, and not about what may be done.
  public var isAuthentication: Bool {
    [RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR__SSL, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED]
      .contains { $0.rawValue == code }
  }

  /// Bytes of a partition are damaged, or in a form that is not understood. librdkafka skips such records and goes on.
  public var isDamage: Bool {
    [
      RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__BAD_COMPRESSION, RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED,
      RD_KAFKA_RESP_ERR_INVALID_MSG,
    ].contains { $0.rawValue == code }
  }

  /// The words and the code.
  public var description: String { "\(message) (Kafka \(code))" }

  static func check(_ error: OpaquePointer?) throws(KafkaError) {
    if let error { throw KafkaError(error) }
  }

  static func check(_ error: rd_kafka_resp_err_t) throws(KafkaError) {
    if error != RD_KAFKA_RESP_ERR_NO_ERROR { throw KafkaError(error) }
  }

  private static func kind(_ code: rd_kafka_resp_err_t) -> Kind {
    switch code {
    case RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
      RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
      RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
      RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
      RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
      .unavailable
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
      RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
      .unknownTopic
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: .topicExists
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: .outOfRange
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: .tooLarge
    case RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
      RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
      .fenced
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
      RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
      .staleGroup
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT: .unstableOffsets
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR__SSL, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      .notPermitted
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: .partitionEnd
    case RD_KAFKA_RESP_ERR__STATE: .notFetching
    case RD_KAFKA_RESP_ERR__QUEUE_FULL: .queueFull
    default: .other
    }
  }
}

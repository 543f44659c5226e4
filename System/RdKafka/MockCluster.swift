import CRdKafka

/// librdkafka's own imitation of a Kafka cluster, in this process: for tests.
///
/// Good for what clients and groups do when a broker answers with an error, late, or not at all. It keeps records, but
/// knows neither transactions, sequences nor retention: whatever it is sent is there.
public final class MockCluster: @unchecked Sendable {
  // Safe to share: librdkafka hands every call over to the cluster's own thread.

  private let client: Client
  private let raw: OpaquePointer
  private let brokers: Int32

  /// Brokers on free ports of this machine, until the value is gone.
  public init(brokers: Int = 1) throws(KafkaError) {
    self.brokers = Int32(clamping: max(1, brokers))
    client = try Client(RD_KAFKA_PRODUCER, ["client.id": "mock", "log_level": "0"])
    guard let raw = rd_kafka_mock_cluster_new(client.raw, self.brokers) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__FAIL, "no mock cluster")
    }
    self.raw = raw
  }

  deinit { rd_kafka_mock_cluster_destroy(raw) }

  /// `host:port` of each broker, separated by commas.
  public var servers: String { rd_kafka_mock_cluster_bootstraps(raw).map { String(cString: $0) } ?? "" }

  /// Makes a topic: the mock does not answer questions to do so.
  public func create(topic: String, partitions: Int) throws(KafkaError) {
    try KafkaError.check(rd_kafka_mock_topic_create(raw, topic, Int32(clamping: partitions), 1))
  }

  /// How long each answer takes from now on.
  public func setRoundTrip(milliseconds: Int) {
    for broker in 1...brokers { rd_kafka_mock_broker_set_rtt(raw, broker, Int32(clamping: milliseconds)) }
  }

  /// What the cluster can be told to refuse.
  public enum Request: Int16, Sendable {
    /// Records.
    case produce = 0
  }

  /// The next requests of this kind are answered so, one after another, and not carried out: that the broker does not
  /// lead the partition (any more, or yet).
  public func refuseAsNotLeader(_ request: Request, times: Int) {
    let errors = [rd_kafka_resp_err_t](repeating: RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, count: times)
    rd_kafka_mock_push_request_errors_array(raw, request.rawValue, errors.count, errors)
  }
}

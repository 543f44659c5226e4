import Pipeline
import RdKafka

extension BrokerError {
  static let closed = BrokerError(.closed, "the broker is closed")

  /// What a Kafka error means to a caller, when it is certain that nothing happened.
  init(_ error: KafkaError, _ doing: String) {
    let kind: Kind =
      switch error.kind {
      case .unavailable, .unstableOffsets, .queueFull: .unavailable
      case .unknownTopic: .unknownTopic
      case .topicExists: .mismatch
      case .outOfRange: .outOfRange
      case .tooLarge: .tooLarge
      case .fenced, .staleGroup: .fenced
      case .notPermitted: .notPermitted
      case .badSetting: .badSetting
      case .partitionEnd, .notFetching, .other: .other
      }
    self.init(kind, "\(doing): \(error)", hint: Self.hint(error))
  }

  /// A partition cannot be read on.
  init(reading partition: TopicPartition, _ error: KafkaError) {
    guard error.isDamage else {
      self.init(error, "\(partition) cannot be read on")
      return
    }
    self.init(
      .corrupt, "\(partition) holds damaged records: \(error)",
      hint: "by a broker's disk or memory, or on the way; another replica may have them whole")
  }

  private static func hint(_ error: KafkaError) -> String? {
    switch error.kind {
    case .outOfRange:
      "records were deleted that the group had not settled; docs/kafka.md says how to go on behind them"
    case .notPermitted:
      error.isAuthentication
        ? "look at `kafka` in the topology: security.protocol, sasl.*, ssl.*"
        : "the Kafka user lacks a right that docs/kafka.md lists"
    case .badSetting: "look at `kafka` in the topology; librdkafka's CONFIGURATION.md lists what there is"
    default: nil
    }
  }
}

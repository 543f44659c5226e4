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
      case .partitionEnd, .other: .other
      }
    self.init(kind, "\(doing): \(error)")
  }
}

import Pipeline
import RdKafka

/// Records as librdkafka fetched them: keys and values are its memory, headers are decoded when asked for.
final class KafkaBatch: RecordBatch {
  private let messages: MessageBatch
  init(_ messages: MessageBatch) { self.messages = messages }

  /// The record of message `index`.
  func record(_ index: Int, of partition: TopicPartition, generation: Int64) -> Record {
    let key = messages.key(index)
    return Record(
      topicPartition: partition, offset: messages.offset(index),
      timestamp: Timestamp(milliseconds: max(0, messages.timestamp(index))), generation: generation,
      key: key.isEmpty ? .empty : Bytes(unowned: key, keeping: messages), valueSize: messages.value(index).count,
      batch: self, index: index)
  }

  func headers(_ index: Int) throws(BrokerError) -> Headers {
    var headers = Headers()
    do { try messages.forEachHeader(index) { headers.append(name: $0, value: $1) } } catch {
      throw BrokerError(.corrupt, "the headers of offset \(messages.offset(index)) are damaged: \(error)")
    }
    return headers
  }

  func value(_ index: Int) async throws(BrokerError) -> Bytes {
    let value = messages.value(index)
    return value.isEmpty ? .empty : Bytes(unowned: value, keeping: messages)
  }
}

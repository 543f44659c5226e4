import Pipeline
import RdKafka

/// A record with everything decided: where it goes, and its bytes at hand.
struct PreparedRecord: Sendable {
  let place: TopicPartition
  let key: Bytes
  let headers: Headers
  let value: Bytes
}

extension ProducerClient {
  /// Takes the record into the queue; waits while that is full, until the deadline: no answer may ever make room.
  func append(_ record: PreparedRecord, token: Int, by deadline: Deadline) throws(KafkaError) {
    while !(try offer(record, token: token)) {
      if deadline.isOver { throw .timedOut }
      serve(milliseconds: 10)
    }
  }

  /// Takes the record into the queue, unless that is full.
  func offer(_ record: PreparedRecord, token: Int) throws(KafkaError) -> Bool {
    let headers = list(record.headers)
    do throws(KafkaError) {
      try record.key.withUnsafeBytes { key throws(KafkaError) in
        try record.value.withUnsafeBytes { value throws(KafkaError) in
          try produce(
            topic: record.place.topic, partition: record.place.partition, key: key, value: value, headers: headers,
            token: token)
        }
      }
      return true
    } catch {
      if error.kind == .queueFull { return false }
      throw error
    }
  }

  private func list(_ headers: Headers) -> HeaderList? {
    guard !headers.isEmpty else { return nil }
    let list = HeaderList(capacity: 16)
    headers.forEach { name, value in list.append(name, value) }
    return list
  }
}

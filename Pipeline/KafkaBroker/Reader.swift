import Pipeline
import RdKafka

/// Reads ranges without a group. Used by one thread.
final class Reader {
  private let options: KafkaBroker.Options
  private let questions: Questions
  private var client: ConsumerClient?
  private var queues: [TopicPartition: PartitionQueue] = [:]

  init(_ options: KafkaBroker.Options) {
    self.options = options
    questions = Questions(options)
  }

  func read(_ partition: TopicPartition, from offset: Int64, limit: Int) throws(BrokerError) -> [Record] {
    let marks = try questions.watermarks(partition)
    guard (marks.first...marks.end).contains(offset) else {
      throw BrokerError(.outOfRange, "\(partition) has offsets \(marks.first) to \(marks.end), not \(offset)")
    }
    guard offset < marks.end, limit > 0 else { return [] }
    do throws(KafkaError) { return try take(partition, from: offset, to: marks.end, limit) } catch {
      client = nil
      queues = [:]
      throw BrokerError(error, "read \(partition)")
    }
  }

  private func consumer() throws(KafkaError) -> ConsumerClient {
    if let client { return client }
    let client = try ConsumerClient(options.reader) {}
    self.client = client
    return client
  }

  private func take(
    _ partition: TopicPartition, from offset: Int64, to end: Int64, _ limit: Int
  ) throws(KafkaError) -> [Record] {
    let client = try consumer()
    guard let queue = queues[partition] ?? client.queue(topic: partition.topic, partition: partition.partition) else {
      return []
    }
    queues[partition] = queue
    try client.assign(
      [PartitionOffset(topic: partition.topic, partition: partition.partition, offset: offset)], incrementally: false)
    defer { try? client.unassign([], incrementally: false) }
    let messages = client.batch()
    // What is not decided yet at the end is waited for: for a settlement that has just returned that takes
    // milliseconds, for a transaction whose producer died as long as it may stay open.
    let deadline = Deadline(options.patience + options.transactionTimeout)
    reading: while messages.count < limit, !deadline.isOver {
      while client.poll() != nil {}
      let found = queue.take(limit - messages.count, into: messages, milliseconds: 100)
      if messages.count > 0, messages.offset(messages.count - 1) + 1 >= end { break reading }
      switch found {
      case .end(let place): if place >= end { break reading }
      case .nothing: break
      case .failed(let error): if error.kind != .unavailable { throw error }
      }
    }
    let batch = KafkaBatch(messages)
    return (0..<messages.count).map { batch.record($0, of: partition, generation: 0) }
  }
}

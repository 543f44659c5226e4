import Pipeline
import RdKafka

/// Reads without a group. Used by one thread.
final class Reader {
  private let options: KafkaBroker.Options
  private let questions: Questions
  private var client: ConsumerClient?
  private var headClient: ConsumerClient?
  private var queues: [TopicPartition: PartitionQueue] = [:]

  init(_ options: KafkaBroker.Options) {
    self.options = options
    questions = Questions(options)
  }

  // MARK: Ranges

  func read(_ partition: TopicPartition, from offset: Int64, limit: Int) throws(BrokerError) -> [Record] {
    guard let marks = try questions.watermarks([partition]).first else { return [] }
    guard (marks.first...marks.end).contains(offset) else {
      throw BrokerError(.outOfRange, "\(partition) has offsets \(marks.first) to \(marks.end), not \(offset)")
    }
    guard offset < marks.end, limit > 0 else { return [] }
    do throws(KafkaError) { return try take(partition, from: offset, to: marks.end, limit) } catch {
      client = nil
      queues = [:]
      throw BrokerError(reading: partition, error)
    }
  }

  private func take(
    _ partition: TopicPartition, from offset: Int64, to end: Int64, _ limit: Int
  ) throws(KafkaError) -> [Record] {
    if client == nil { client = try ConsumerClient(options.reader) {} }
    guard let client else { return [] }
    guard let queue = queues[partition] ?? client.queue(topic: partition.topic, partition: partition.partition) else {
      return []
    }
    queues[partition] = queue
    queue.goOn()
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
      case .failed(let error):
        if error.isDamage, messages.count > 0 { break reading }
        if error.kind != .unavailable { throw error }
      }
    }
    let batch = KafkaBatch(messages)
    return (0..<messages.count).map { batch.record($0, of: partition, generation: 0) }
  }

  // MARK: Heads

  /// The most partitions whose heads are fetched at once: each may bring what the client takes of one.
  private static let headChunk = 500

  /// The first record at or behind each position; what is not decided yet is not waited for.
  func first(at positions: [RecordPosition]) throws(BrokerError) -> [TopicPartition: Record] {
    var result: [TopicPartition: Record] = [:]
    for start in stride(from: 0, to: positions.count, by: Self.headChunk) {
      let part = Array(positions[start..<min(start + Self.headChunk, positions.count)])
      do throws(KafkaError) { try takeHeads(part, into: &result) } catch {
        headClient = nil
        throw BrokerError(error, "read the first records of \(positions.count) partitions")
      }
    }
    return result
  }

  private func takeHeads(
    _ positions: [RecordPosition], into result: inout [TopicPartition: Record]
  ) throws(KafkaError) {
    if headClient == nil { headClient = try ConsumerClient(options.headReader) {} }
    guard let client = headClient else { return }
    var queues: [(name: TopicPartition, queue: PartitionQueue)] = []
    for position in positions {
      let name = position.topicPartition
      if let queue = client.queue(topic: name.topic, partition: name.partition) { queues.append((name, queue)) }
    }
    let places = positions.map {
      PartitionOffset(topic: $0.topicPartition.topic, partition: $0.topicPartition.partition, offset: $0.offset)
    }
    try client.assign(places, incrementally: false)
    defer { try? client.unassign([], incrementally: false) }
    let deadline = Deadline(options.patience * 2)
    while !queues.isEmpty {
      while client.poll() != nil {}
      var left: [(name: TopicPartition, queue: PartitionQueue)] = []
      for (name, queue) in queues {
        var messages: MessageBatch?
        let found = queue.take(1, into: &messages)
        if let messages, messages.count > 0 {
          result[name] = KafkaBatch(messages).record(0, of: name, generation: 0)
          continue
        }
        switch found {
        case .end: break
        case .failed(let error) where error.kind == .outOfRange || error.isDamage: break
        case .failed(let error) where error.kind != .unavailable: throw error
        case .nothing, .failed: left.append((name, queue))
        }
      }
      if left.count == queues.count {
        guard !deadline.isOver else { throw .timedOut }
        questions.pause()
      }
      queues = left
    }
  }
}

public import Pipeline
import RdKafka

extension KafkaBroker {
  struct Batch: Sendable {
    let records: [PreparedRecord]
    let answer: Answer<[Int64]>
  }

  enum Work: Sendable {
    case batch(Batch)
    /// A topic was deleted: what the producer remembers of its sequence is wrong when one of that name comes again.
    case renew
  }

  enum Single: Sendable {
    case append(Appender.Item)
    /// Everything before this is finished before anything behind it is begun.
    case finish
  }

  /// See `Broker`. A single record is sent at once, with others that come meanwhile; it is durable on all replicas that
  /// are in sync. Calls with several records that wait at the same time share a transaction.
  ///
  /// Bytes that are under way are bounded: beyond, callers wait, at most as long as one answer may take. After an
  /// `.unknownResult` the record is not sent any more, but may be there: who tries again may repeat it, as SMTP allows.
  @discardableResult
  public func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    if isClosed { throw .closed }
    guard !records.isEmpty else { return [] }
    let prepared = try await prepare(records)
    let patience = options.patience
    let result: Result<[Int64], BrokerError> = await withCheckedContinuation { answer in
      let isTaken =
        if prepared.count == 1 {
          appending.add(.append(.init(record: prepared[0], answer: answer, deadline: Deadline(patience))))
        } else {
          producing.add(.batch(Batch(records: prepared, answer: answer)))
        }
      if !isTaken { answer.resume(returning: .failure(.closed)) }
    }
    return zip(prepared, try result.get()).map { RecordPosition($0.place, $1) }
  }

  /// Decides where records go, and loads their values.
  func prepare(_ records: [OutgoingRecord]) async throws(BrokerError) -> [PreparedRecord] {
    var result: [PreparedRecord] = []
    result.reserveCapacity(records.count)
    var (topic, count) = ("", 0)
    for record in records {
      if record.topic != topic {
        topic = record.topic
        count = try await partitions(of: topic)
      }
      let partition = record.partition ?? Partitioner.partition(of: record.key, among: count)
      guard (0..<count).contains(partition) else {
        throw BrokerError(.unknownTopic, "\(record.topic) has \(count) partitions, and no \(partition)")
      }
      let value: Bytes
      switch record.value {
      case .bytes(let bytes): value = bytes
      case .same(let original): value = try await original.value()
      }
      let size = record.key.count + record.headers.encoded.count + value.count
      guard size <= options.largestRecord else {
        throw BrokerError(
          .tooLarge, "a record of \(size) bytes for \(record.topic): the limit is \(options.largestRecord)")
      }
      result.append(
        PreparedRecord(
          place: TopicPartition(record.topic, partition), key: record.key, headers: record.headers, value: value))
    }
    return result
  }

  static func work(_ items: [Work], _ transactor: Transactor) {
    var group: [Batch] = []
    for item in items {
      switch item {
      case .batch(let batch): group.append(batch)
      case .renew:
        append(group, transactor)
        group = []
        transactor.renew()
      }
    }
    append(group, transactor)
  }

  static func work(_ singles: [Single], _ appender: Appender) -> Deadline? {
    var items: [Appender.Item] = []
    for single in singles {
      switch single {
      case .append(let item): items.append(item)
      case .finish:
        appender.add(items)
        items = []
        appender.finish()
      }
    }
    appender.add(items)
    return appender.next
  }

  private static func append(_ batches: [Batch], _ transactor: Transactor) {
    guard !batches.isEmpty else { return }
    let result: BrokerError
    do {
      var offsets = try transactor.transact(batches.flatMap(\.records))[...]
      for batch in batches {
        batch.answer.resume(returning: .success(Array(offsets.prefix(batch.records.count))))
        offsets = offsets.dropFirst(batch.records.count)
      }
      return
    } catch {
      switch error {
      case .refused(let reason):
        if batches.count > 1 { return batches.forEach { append([$0], transactor) } }
        result = reason
      case .unknown(let reason): result = reason
      case .fenced, .staleGroup:
        result = BrokerError(.unavailable, "produce: the transaction was not taken")
        transactor.renew()
      }
    }
    for batch in batches { batch.answer.resume(returning: .failure(result)) }
  }
}

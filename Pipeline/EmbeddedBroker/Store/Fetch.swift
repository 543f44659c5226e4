import Pipeline

extension BrokerStore {
  /// The most bytes of one batch, unless a single record is larger.
  static let maximumBatch = 8 << 20

  /// What a consumer wants of a partition.
  struct Want: Sendable {
    let partition: Int64
    let name: TopicPartition
    let position: Int64
    let generation: Int64
  }

  /// What came of it, in the order of the wants.
  struct Fetched: Sendable {
    /// The assignment is another one: nothing was read.
    var isStale = false
    var records: [Record] = []
    /// For each want, the position behind the last record; the old one if there was none.
    var positions: [Int64] = []
    /// For each want, how many of the records are its own.
    var counts: [Int] = []
    /// For each want, whether there was no more at that moment.
    var isExhausted: [Bool] = []
  }

  /// Reads records of several partitions, `limit` in all, so that none waits for another that has many.
  func fetch(
    _ member: Member, epoch: Int64, _ wants: [Want], limit: Int, loadsValues: Bool
  ) throws(BrokerError) -> Fetched {
    var result = Fetched()
    guard try self.epoch(of: member.group) == epoch else {
      result.isStale = true
      return result
    }
    let batch = EmbeddedBatch(identity: identity, source: contents, capacity: 4096)
    for (index, want) in wants.enumerated() {
      // Its share of what is left; the last one may have all of it.
      let left = limit - batch.count
      let share = left <= 0 || batch.size >= Self.maximumBatch ? 0 : max(1, left / (wants.count - index))
      let before = batch.count
      var (position, isExhausted) = (want.position, false)
      do {
        let partition = try partition(want.partition, want.name)
        (position, isExhausted) = try read(
          partition, from: want.position, limit: share, want.generation, loadsValues: loadsValues, into: batch)
      } catch {
        // What the others have comes first; the error comes again when it is the only thing to say.
        if batch.count == 0 || connection.failure != nil { throw error }
      }
      result.positions.append(position)
      result.isExhausted.append(isExhausted)
      result.counts.append(batch.count - before)
    }
    result.records = batch.records()
    return result
  }

  /// Reads a range without a group.
  func read(_ name: TopicPartition, from offset: Int64, limit: Int) throws(BrokerError) -> [Record] {
    let partition = try partition(name)
    try checkRange(partition, offset)
    let batch = EmbeddedBatch(identity: identity, source: contents, capacity: 4096)
    _ = try read(
      partition, from: offset, limit: max(0, min(limit, Self.maximumRecords)), 0, loadsValues: false, into: batch,
      mayBegin: true)
    return batch.records()
  }

  /// Refuses an offset below the first that is kept, or beyond the end.
  func checkRange(_ partition: Partition, _ offset: Int64) throws(BrokerError) {
    try loadEnd(partition)
    let first = try partition.first() ?? partition.next
    let isCompacted = partition.topic.retention.kind == .compacted
    guard offset <= partition.next, offset >= (isCompacted ? 0 : first) else {
      throw BrokerError(
        .outOfRange, "\(partition.name) has \(first) to \(partition.next), and offset \(offset) is not in there",
        hint: offset < first ? "the records were deleted: seek to \(first) to go on" : nil)
    }
  }

  private func read(
    _ partition: Partition, from position: Int64, limit: Int, _ generation: Int64, loadsValues: Bool,
    into batch: EmbeddedBatch, mayBegin: Bool = false
  ) throws(BrokerError) -> (position: Int64, isExhausted: Bool) {
    guard limit > 0 else { return (position, false) }
    let query = try partition.query(.select)
    query.bindAll(position, Int64(limit))
    defer { query.reset() }
    var next = position
    var count = 0
    while try query.step() {
      let offset = query.int(0)
      if count == 0, offset != position, !mayBegin, partition.topic.retention.kind != .compacted {
        throw BrokerError(
          .outOfRange, "\(partition.name) begins at \(offset), and \(position) would be next",
          hint: "the records were deleted before this group had them: seek to \(offset) to go on")
      }
      do { try take(query, offset, of: partition, generation, loadsValues: loadsValues, into: batch) } catch {
        // What stands before a damaged record is good.
        if count > 0, connection.failure == nil { return (next, false) }
        throw error
      }
      count += 1
      next = offset + 1
      if batch.size >= Self.maximumBatch { return (next, false) }
    }
    if count == 0, !mayBegin { try checkRange(partition, position) }
    return (next, count < limit)
  }

  /// Takes the present row into the batch, if it is undamaged.
  private func take(
    _ row: Query, _ offset: Int64, of partition: Partition, _ generation: Int64, loadsValues: Bool,
    into batch: EmbeddedBatch
  ) throws(BrokerError) {
    let size = Int(row.int(3))
    let content: Int64? = row.isNull(4) ? nil : row.int(4)
    let key = row.blob(5)
    let headers = row.blob(6)
    let inline = row.blob(7)
    let sum = RowSum.value(offset: offset, size: size, content: content, key: key, headers: headers, value: inline)
    let position = RecordPosition(partition.name, offset)
    guard sum == row.int(2), content != nil || inline.count == size else {
      throw BrokerError(
        .corrupt, "\(position) is damaged on the disk",
        hint: "seek behind it to go on without it, or restore a backup of \(connection.path)")
    }
    let start = batch.append(key)
    _ = batch.append(headers)
    let value: EmbeddedBatch.Value
    if let content {
      value = loadsValues ? .loaded(try recentContent(content, of: position)) : .inStore
    } else {
      value = .inBuffer(batch.append(inline))
    }
    batch.append(
      EmbeddedBatch.Entry(
        position: position, timestamp: Timestamp(microseconds: row.int(1)), generation: generation, key: start,
        keySize: key.count, headersSize: headers.count, value: value, valueSize: size, content: content))
  }

  // MARK: Ends

  func watermarks(_ names: [TopicPartition]) throws(BrokerError) -> [Watermarks] {
    var result: [Watermarks] = []
    for name in names {
      let partition = try partition(name)
      try loadEnd(partition)
      result.append(
        Watermarks(topicPartition: name, first: try partition.first() ?? partition.next, end: partition.next))
    }
    return result
  }

  /// By halving: offsets rise with time, as far as the machine's clock does.
  func offset(_ name: TopicPartition, at time: Timestamp) throws(BrokerError) -> Int64 {
    let partition = try partition(name)
    try loadEnd(partition)
    var low = try partition.first() ?? partition.next
    var high = partition.next
    let query = try partition.query(.select)
    while low < high {
      let middle = low + (high - low) / 2
      query.bindAll(middle, 1)
      guard try query.step() else {
        high = middle
        continue
      }
      let (offset, at) = (query.int(0), query.int(1))
      query.reset()
      if at >= time.microseconds { high = middle } else { low = offset + 1 }
    }
    // `low` may be a gap: the first record behind it is meant.
    query.bindAll(low, 1)
    guard try query.step() else { return partition.next }
    defer { query.reset() }
    return query.int(0)
  }
}

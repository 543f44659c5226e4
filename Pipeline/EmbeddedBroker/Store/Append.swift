import Pipeline

/// Records on their way into the store: checked, and with their partitions chosen.
struct CheckedAppend {
  fileprivate(set) var partitions: [Partition] = []
  /// Content that records refer to instead of bringing it; once for each record that does.
  fileprivate(set) var taken: [Int64] = []
}

extension BrokerStore {
  /// The largest value, in bytes.
  static let maximumValue = 64 << 20
  /// The largest key, in bytes.
  static let maximumKey = 64 << 10
  /// The most bytes and records of one call.
  static let maximumCall = 256 << 20
  static let maximumRecords = 65_536

  /// Checks records and chooses their partitions. Changes nothing.
  func check(_ records: [OutgoingRecord]) throws(BrokerError) -> CheckedAppend {
    guard records.count <= Self.maximumRecords else {
      throw BrokerError(.tooLarge, "\(records.count) records in one call", hint: "at most \(Self.maximumRecords)")
    }
    var result = CheckedAppend()
    result.partitions.reserveCapacity(records.count)
    var known: Topic?
    var total = 0
    for record in records {
      let topic: Topic
      if let known, known.name == record.topic { topic = known } else { topic = try self.topic(record.topic) }
      known = topic
      let count = topic.partitions.count
      let number = record.partition ?? (count > 1 ? Partitioner.partition(of: record.key, among: count) : 0)
      guard topic.partitions.indices.contains(number) else {
        throw BrokerError(.unknownTopic, "\(topic.name) has \(count) partitions, and none with number \(number)")
      }
      let partition = topic.partitions[number]
      try loadEnd(partition)
      result.partitions.append(partition)
      total += try size(of: record, to: topic, &result)
    }
    guard total <= Self.maximumCall else {
      throw BrokerError(.tooLarge, "\(total) bytes in one call", hint: "at most \(Self.maximumCall >> 20) MiB")
    }
    return result
  }

  private func size(
    of record: OutgoingRecord, to topic: Topic, _ result: inout CheckedAppend
  ) throws(BrokerError) -> Int {
    guard record.key.count <= Self.maximumKey else {
      throw BrokerError(.tooLarge, "a key of \(record.key.count) bytes for \(topic.name)", hint: "at most 64 KiB")
    }
    let headers = record.headers.encoded.count
    guard headers <= Headers.maximumSize else {
      throw BrokerError(.tooLarge, "headers of \(headers) bytes for \(topic.name)", hint: "at most 512 KiB")
    }
    var size = record.key.count + headers
    switch record.value {
    case .bytes(let bytes):
      guard bytes.count <= Self.maximumValue else {
        throw BrokerError(
          .tooLarge, "a value of \(bytes.count) bytes for \(topic.name)",
          hint: "at most 64 MiB; put large content into the object store and pass a reference")
      }
      size += bytes.count
    case .same(let original):
      guard let stored = storedValue(original) else {
        throw BrokerError(.other, "a value of another broker was not loaded before the append")
      }
      if let content = stored.content { result.taken.append(content) } else { size += stored.bytes.count }
    }
    return size
  }

  /// Where this store keeps the value of a record that it has handed out; nil: it has not.
  private func storedValue(_ record: Record) -> (content: Int64?, bytes: Bytes)? {
    let (batch, index) = record.origin
    guard let batch = batch as? EmbeddedBatch, batch.identity === identity else { return nil }
    return batch.stored(index)
  }

  /// Appends what `check` has found good; `body` learns of each record's offset. References are the caller's.
  func append(
    _ records: [OutgoingRecord], _ checked: CheckedAppend, _ body: (Partition, Int64) -> Void = { _, _ in }
  ) throws(BrokerError) {
    let now = clock.now.microseconds
    for (record, partition) in zip(records, checked.partitions) {
      let offset = partition.next
      try insert(record, at: offset, now, into: partition)
      partition.next = offset + 1
      body(partition, offset)
      if partition.topic.retention.kind == .compacted { try compact(partition, record.key, below: offset) }
      touch(partition)
    }
  }

  private func insert(
    _ record: OutgoingRecord, at offset: Int64, _ now: Int64, into partition: Partition
  ) throws(BrokerError) {
    let content: Int64?
    let value: Bytes
    let size: Int
    let key = record.key
    let headers = record.headers.encoded
    switch record.value {
    case .bytes(let bytes):
      size = bytes.count
      if bytes.count > settings.inlineLimit {
        content = try bytes.withUnsafeBytes { (raw) throws(BrokerError) in try insertContent(raw) }
        value = .empty
      } else {
        content = nil
        value = bytes
      }
    case .same(let original):
      guard let stored = storedValue(original) else { return }
      content = stored.content
      value = stored.bytes
      size = original.valueSize
    }
    appendedBytes += size + key.count + headers.count
    let query = try partition.query(.insert)
    query.bind(1, offset)
    query.bind(2, now)
    query.bind(4, size)
    if let content { query.bind(5, content) } else { query.bindNull(5) }
    try key.withUnsafeBytes { (key) throws(BrokerError) in
      try value.withUnsafeBytes { (value) throws(BrokerError) in
        // The array's bytes stay where they are until `run` has returned.
        let failure = headers.withUnsafeBytes { headers -> BrokerError? in
          query.bind(
            3, RowSum.value(offset: offset, size: size, content: content, key: key, headers: headers, value: value))
          query.bind(6, borrowing: key)
          query.bind(7, borrowing: headers)
          query.bind(8, borrowing: content == nil ? value : UnsafeRawBufferPointer(start: nil, count: 0))
          do throws(BrokerError) { try query.run() } catch { return error }
          return nil
        }
        if let failure { throw failure }
      }
    }
  }

  /// Deletes older records of the key.
  private func compact(_ partition: Partition, _ key: Bytes, below offset: Int64) throws(BrokerError) {
    var given: [Int64] = []
    try key.withUnsafeBytes { (bytes) throws(BrokerError) in
      let older = try partition.query(.olderOfKey)
      older.bind(1, borrowing: bytes)
      older.bind(2, offset)
      while try older.step() { given.append(older.int(0)) }
      let delete = try partition.query(.deleteOlderOfKey)
      delete.bind(1, borrowing: bytes)
      delete.bind(2, offset)
      try delete.run()
    }
    try apply(References(taken: [], given: given))
  }

  /// Appends records, all or none.
  func produce(_ records: [OutgoingRecord]) throws(BrokerError) -> [RecordPosition] {
    try checkRoom()
    let checked = try check(records)
    let references = References(taken: checked.taken, given: [])
    try check(references)
    try apply(references)
    var positions: [RecordPosition] = []
    positions.reserveCapacity(records.count)
    try append(records, checked) { partition, offset in positions.append(RecordPosition(partition.name, offset)) }
    return positions
  }
}

/// The sum that a row carries over everything in it.
enum RowSum {
  static func value(
    offset: Int64, size: Int, content: Int64?, key: UnsafeRawBufferPointer, headers: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) -> Int64 {
    var sum = Checksum()
    sum.add(offset)
    sum.add(Int64(size))
    sum.add(content ?? -1)
    sum.add(key)
    sum.add(headers)
    if content == nil { sum.add(value) }
    return sum.value
  }
}

import Pipeline

/// Memory that grows while a batch is read, and never changes afterwards.
final class FlatBuffer {
  private(set) var base: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = max(64, capacity)
    base = .allocate(byteCount: self.capacity, alignment: 8)
  }

  deinit { base.deallocate() }

  /// Copies the bytes to the end, and says where they are.
  func append(_ bytes: UnsafeRawBufferPointer) -> Int {
    let start = count
    guard let source = bytes.baseAddress else { return start }
    if count + bytes.count > capacity {
      capacity = max(capacity * 2, count + bytes.count)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
      larger.copyMemory(from: base, byteCount: count)
      base.deallocate()
      base = larger
    }
    (base + count).copyMemory(from: source, byteCount: bytes.count)
    count += bytes.count
    return start
  }

  func slice(_ start: Int, _ size: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + start, count: size)
  }
}

/// Which records a store keeps: its identity, by which it recognises its own content in an output.
final class StoreIdentity: Sendable {}

/// Loads content that was left in the store.
protocol ContentSource: Sendable {
  /// See `BrokerStore.content`.
  func load(content: Int64, of position: RecordPosition) async throws(BrokerError) -> Bytes
}

/// What one fetch brought: keys, headers and small values of its records, side by side in one buffer; and larger values,
/// which the batches of the next stages share.
final class EmbeddedBatch: RecordBatch, @unchecked Sendable {
  // Safe to share: `buffer` and `entries` are filled before the batch is handed out, and never changed after.

  /// Where a record's value is.
  enum Value {
    /// In the buffer, from this place on.
    case inBuffer(Int)
    /// Kept apart, and loaded.
    case loaded(Bytes)
    /// Kept apart.
    case inStore
  }

  /// Where a record's parts are in the buffer.
  struct Entry {
    let position: RecordPosition
    let timestamp: Timestamp
    let generation: Int64
    let key: Int
    let keySize: Int
    let headersSize: Int
    let value: Value
    let valueSize: Int
    /// The row of `content` that holds the value; nil: the record's own row does.
    let content: Int64?
  }

  let identity: StoreIdentity
  private let source: any ContentSource
  private let buffer: FlatBuffer
  private var entries: [Entry] = []
  private var loaded = 0  // bytes of values outside the buffer

  init(identity: StoreIdentity, source: any ContentSource, capacity: Int) {
    self.identity = identity
    self.source = source
    buffer = FlatBuffer(capacity: capacity)
  }

  /// Bytes taken so far.
  var size: Int { buffer.count + loaded }
  var count: Int { entries.count }

  // Only while the batch is being filled, by the one that fills it.
  func append(_ bytes: UnsafeRawBufferPointer) -> Int { buffer.append(bytes) }
  func append(_ entry: Entry) {
    entries.append(entry)
    if case .loaded(let value) = entry.value { loaded += value.count }
  }

  /// The records, once all are in.
  func records() -> [Record] {
    entries.indices.map { index in
      let entry = entries[index]
      return Record(
        topicPartition: entry.position.topicPartition, offset: entry.position.offset, timestamp: entry.timestamp,
        generation: entry.generation, key: bytes(entry.key, entry.keySize), valueSize: entry.valueSize, batch: self,
        index: index)
    }
  }

  /// Where the value of record `index` is kept: in `content`, or here.
  func stored(_ index: Int) -> (content: Int64?, bytes: Bytes)? {
    guard entries.indices.contains(index) else { return nil }
    let entry = entries[index]
    return (entry.content, value(of: entry) ?? .empty)
  }

  func headers(_ index: Int) throws(BrokerError) -> Headers {
    guard entries.indices.contains(index) else { throw Self.noSuchRecord(index) }
    let entry = entries[index]
    do { return try Headers(encoded: [UInt8](buffer.slice(entry.key + entry.keySize, entry.headersSize))) } catch {
      throw BrokerError(.corrupt, "the headers of \(entry.position) are damaged")
    }
  }

  func value(_ index: Int) async throws(BrokerError) -> Bytes {
    guard entries.indices.contains(index) else { throw Self.noSuchRecord(index) }
    let entry = entries[index]
    if let value = value(of: entry) { return value }
    guard let content = entry.content else { return .empty }
    return try await source.load(content: content, of: entry.position)
  }

  private func value(of entry: Entry) -> Bytes? {
    switch entry.value {
    case .inBuffer(let start): bytes(start, entry.valueSize)
    case .loaded(let value): value
    case .inStore: nil
    }
  }

  private func bytes(_ start: Int, _ size: Int) -> Bytes {
    size == 0 ? .empty : Bytes(unowned: buffer.slice(start, size), keeping: self)
  }

  private static func noSuchRecord(_ index: Int) -> BrokerError {
    BrokerError(.outOfRange, "the batch has no record \(index)")
  }
}

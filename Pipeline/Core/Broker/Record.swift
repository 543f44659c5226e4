/// One partition of one topic.
public struct TopicPartition: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// The topic's name.
  public let topic: String
  /// 0 and up.
  public let partition: Int

  /// Partition `partition` of `topic`.
  public init(_ topic: String, _ partition: Int) {
    self.topic = topic
    self.partition = partition
  }

  /// By topic, then by partition.
  public static func < (left: TopicPartition, right: TopicPartition) -> Bool {
    left.topic != right.topic ? left.topic < right.topic : left.partition < right.partition
  }
  /// `topic[partition]`.
  public var description: String { "\(topic)[\(partition)]" }
}

/// A record as a topic holds it.
///
/// Key and headers are slices of the batch that it came in, decoded only when asked. The value may be left with the
/// broker until `value()` asks for it: a hop that passes content on unchanged never touches it.
///
/// A record is copied a dozen times on its way through a hop, by several threads: everything is behind one reference, so
/// that a copy costs one count, and not one on each of what all records of a batch share.
public struct Record: Sendable {
  private final class Storage: Sendable {
    let topicPartition: TopicPartition
    let offset: Int64
    let timestamp: Timestamp
    let generation: Int64
    let key: Bytes
    let valueSize: Int
    let batch: any RecordBatch
    let index: Int

    init(
      _ topicPartition: TopicPartition, _ offset: Int64, _ timestamp: Timestamp, _ generation: Int64, _ key: Bytes,
      _ valueSize: Int, _ batch: any RecordBatch, _ index: Int
    ) {
      self.topicPartition = topicPartition
      self.offset = offset
      self.timestamp = timestamp
      self.generation = generation
      self.key = key
      self.valueSize = valueSize
      self.batch = batch
      self.index = index
    }
  }
  private let storage: Storage

  /// Made by brokers only.
  public init(
    topicPartition: TopicPartition, offset: Int64, timestamp: Timestamp, generation: Int64, key: Bytes,
    valueSize: Int, batch: any RecordBatch, index: Int
  ) {
    storage = Storage(topicPartition, offset, timestamp, generation, key, valueSize, batch, index)
  }

  /// Where it is.
  public var topicPartition: TopicPartition { storage.topicPartition }
  /// Its place in the partition; rises, with gaps (a transaction marker, a compacted record).
  public var offset: Int64 { storage.offset }
  /// When it was appended.
  public var timestamp: Timestamp { storage.timestamp }
  /// Which assignment of the partition it was consumed under; 0 for a record that was only read. See `Settlement`.
  public var generation: Int64 { storage.generation }
  /// What must stay in order with others of the same key.
  public var key: Bytes { storage.key }
  /// Size of the value in bytes, known without loading it.
  public var valueSize: Int { storage.valueSize }

  /// The headers, decoded now.
  ///
  /// - Throws: `BrokerError` of kind `.corrupt` when they are damaged.
  public func headers() throws(BrokerError) -> Headers { try storage.batch.headers(storage.index) }

  /// The value, loaded from the broker if it is not in memory.
  ///
  /// - Throws: `BrokerError`: `.outOfRange` if it has been deleted meanwhile, `.corrupt` if it is damaged.
  public func value() async throws(BrokerError) -> Bytes { try await storage.batch.value(storage.index) }

  /// The batch and place, for the broker that made the record: how it recognises its own content in an output.
  public var origin: (batch: any RecordBatch, index: Int) { (storage.batch, storage.index) }
}

/// What a broker hands records out from: owns their memory until the last record is gone.
public protocol RecordBatch: AnyObject, Sendable {
  /// The headers of record `index`.
  func headers(_ index: Int) throws(BrokerError) -> Headers
  /// The value of record `index`.
  func value(_ index: Int) async throws(BrokerError) -> Bytes
}

/// A record to be appended. Behind one reference, like `Record`.
public struct OutgoingRecord: Sendable {
  /// What its value is.
  public enum Value: Sendable {
    /// These bytes.
    case bytes(Bytes)
    /// The value of a record that the same broker handed out, unchanged: a broker may store a reference.
    case same(Record)
  }

  private final class Storage: Sendable {
    let topic: String
    let partition: Int?
    let key: Bytes
    let headers: Headers
    let value: Value

    init(_ topic: String, _ partition: Int?, _ key: Bytes, _ headers: Headers, _ value: Value) {
      self.topic = topic
      self.partition = partition
      self.key = key
      self.headers = headers
      self.value = value
    }
  }
  private let storage: Storage

  /// The topic; it must exist.
  public var topic: String { storage.topic }
  /// The partition; nil leaves it to the broker's partitioner, by key. See `Partitioner`.
  public var partition: Int? { storage.partition }
  /// What must stay in order with others of the same key.
  public var key: Bytes { storage.key }
  /// The headers.
  public var headers: Headers { storage.headers }
  /// The value.
  public var value: Value { storage.value }

  /// A record to be appended to `topic`.
  public init(topic: String, partition: Int? = nil, key: Bytes, headers: Headers, value: Value) {
    storage = Storage(topic, partition, key, headers, value)
  }
}

/// Which partition a key belongs to, the same on every broker and in every process.
public enum Partitioner {
  /// FNV-1a of the key (64 bits, folded) modulo `partitions`; 0 when there is only one.
  public static func partition(of key: Bytes, among partitions: Int) -> Int {
    guard partitions > 1 else { return 0 }
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    key.withUnsafeBytes { bytes in
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    }
    return Int((hash ^ hash >> 32) & 0x7FFF_FFFF) % partitions
  }
}

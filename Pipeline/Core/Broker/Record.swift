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
public struct Record: Sendable {
  /// Where it is.
  public let topicPartition: TopicPartition
  /// Its place in the partition; rises, with gaps (a transaction marker, a compacted record).
  public let offset: Int64
  /// When it was appended.
  public let timestamp: Timestamp
  /// Which assignment of the partition it was consumed under; 0 for a record that was only read. See `Settlement`.
  public let generation: Int64
  /// What must stay in order with others of the same key.
  public let key: Bytes
  /// Size of the value in bytes, known without loading it.
  public let valueSize: Int
  private let batch: any RecordBatch
  private let index: Int

  /// Made by brokers only.
  public init(
    topicPartition: TopicPartition, offset: Int64, timestamp: Timestamp, generation: Int64, key: Bytes,
    valueSize: Int, batch: any RecordBatch, index: Int
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

  /// The headers, decoded now.
  ///
  /// - Throws: `BrokerError` of kind `.corrupt` when they are damaged.
  public func headers() throws(BrokerError) -> Headers { try batch.headers(index) }

  /// The value, loaded from the broker if it is not in memory.
  ///
  /// - Throws: `BrokerError`: `.outOfRange` if it has been deleted meanwhile, `.corrupt` if it is damaged.
  public func value() async throws(BrokerError) -> Bytes { try await batch.value(index) }

  /// The batch and place, for the broker that made the record: how it recognises its own content in an output.
  public var origin: (batch: any RecordBatch, index: Int) { (batch, index) }
}

/// What a broker hands records out from: owns their memory until the last record is gone.
public protocol RecordBatch: AnyObject, Sendable {
  /// The headers of record `index`.
  func headers(_ index: Int) throws(BrokerError) -> Headers
  /// The value of record `index`.
  func value(_ index: Int) async throws(BrokerError) -> Bytes
}

/// A record to be appended.
public struct OutgoingRecord: Sendable {
  /// What its value is.
  public enum Value: Sendable {
    /// These bytes.
    case bytes(Bytes)
    /// The value of a record that the same broker handed out, unchanged: a broker may store a reference.
    case same(Record)
  }

  /// The topic; it must exist.
  public let topic: String
  /// The partition; nil leaves it to the broker's partitioner, by key. See `Partitioner`.
  public let partition: Int?
  /// What must stay in order with others of the same key.
  public let key: Bytes
  /// The headers.
  public let headers: Headers
  /// The value.
  public let value: Value

  /// A record to be appended to `topic`.
  public init(topic: String, partition: Int? = nil, key: Bytes, headers: Headers, value: Value) {
    self.topic = topic
    self.partition = partition
    self.key = key
    self.headers = headers
    self.value = value
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

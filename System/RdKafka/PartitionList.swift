import CRdKafka

/// A place in a partition.
public struct PartitionOffset: Sendable, Hashable {
  /// The topic's name.
  public var topic: String
  /// 0 and up.
  public var partition: Int
  /// An offset, or one of the names below.
  public var offset: Int64

  /// The first record that is still kept.
  public static let beginning = Int64(RD_KAFKA_OFFSET_BEGINNING)
  /// In place of a time: the first record that is still kept.
  public static let first: Int64 = -2
  /// In place of a time: behind the last record.
  public static let end: Int64 = -1
  /// Nothing was committed, or no offset was asked for.
  public static let none = Int64(RD_KAFKA_OFFSET_INVALID)

  /// A place in a partition.
  public init(topic: String, partition: Int, offset: Int64 = Self.none) {
    self.topic = topic
    self.partition = partition
    self.offset = offset
  }
}

enum PartitionList {
  typealias Raw = UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

  /// Calls `body` with librdkafka's form of the list.
  static func with<R>(_ list: [PartitionOffset], _ body: (Raw) throws(KafkaError) -> R) throws(KafkaError) -> R {
    guard let raw = rd_kafka_topic_partition_list_new(Int32(clamping: list.count)) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__FAIL, "out of memory")
    }
    defer { rd_kafka_topic_partition_list_destroy(raw) }
    for place in list {
      let element = rd_kafka_topic_partition_list_add(raw, place.topic, Int32(clamping: place.partition))
      element?.pointee.offset = place.offset
    }
    return try body(raw)
  }

  static func read(_ raw: UnsafePointer<rd_kafka_topic_partition_list_t>?) -> [PartitionOffset] {
    guard let raw, let elements = raw.pointee.elems else { return [] }
    return (0..<Int(raw.pointee.cnt)).map { index in
      let element = elements[index]
      return PartitionOffset(
        topic: element.topic.map { String(cString: $0) } ?? "", partition: Int(element.partition),
        offset: element.offset)
    }
  }

  static func read(_ raw: Raw?) -> [PartitionOffset] { read(raw.map { UnsafePointer($0) }) }

  /// The first error of an entry.
  static func check(_ raw: Raw) throws(KafkaError) {
    guard let elements = raw.pointee.elems else { return }
    for index in 0..<Int(raw.pointee.cnt) where elements[index].err != RD_KAFKA_RESP_ERR_NO_ERROR {
      let name = elements[index].topic.map { String(cString: $0) } ?? ""
      let words = String(cString: rd_kafka_err2str(elements[index].err))
      throw KafkaError(elements[index].err, "\(name)[\(elements[index].partition)]: \(words)")
    }
  }
}

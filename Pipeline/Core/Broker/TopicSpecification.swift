/// A topic as it should be.
public struct TopicSpecification: Sendable, Hashable {
  /// How long records stay.
  public enum Retention: Sendable, Hashable {
    /// Without limit in time while any group has not settled them; then behind a window for time travel.
    /// A topic that no group has ever joined keeps everything.
    case untilSettled(window: Duration)
    /// At least this long after they were appended, settled or not.
    case time(Duration)
    /// The last record of each key, for good; one with an empty value deletes its key.
    case compacted
    /// For good.
    case unlimited
  }

  /// Letters, digits, `.`, `-` and `_`, at most 200 bytes.
  public let name: String
  /// 1 to 10,000.
  public let partitions: Int
  /// How long records stay.
  public let retention: Retention

  /// A topic as it should be.
  public init(_ name: String, partitions: Int = 1, retention: Retention) {
    self.name = name
    self.partitions = partitions
    self.retention = retention
  }
}

/// What an existing topic has otherwise than it should.
public struct TopicDifference: Sendable, Hashable, CustomStringConvertible {
  /// Which topic; nil: the cluster.
  public let topic: String?
  /// What of it, as the broker calls it.
  public let property: String
  /// What it is.
  public let found: String
  /// What it should be.
  public let wanted: String
  /// How to mend it.
  public let remedy: String
  /// Whether what is promised would not hold; otherwise it is only not as safe as it could be.
  public let isHarmful: Bool

  /// What an existing topic has otherwise.
  public init(
    topic: String?, property: String, found: String, wanted: String, remedy: String, isHarmful: Bool
  ) {
    (self.topic, self.property, self.found, self.wanted) = (topic, property, found, wanted)
    (self.remedy, self.isHarmful) = (remedy, isHarmful)
  }

  /// What is wrong, without the remedy.
  public var description: String {
    (topic.map { "topic \($0)" } ?? "the cluster") + " has \(property) \(found), and should have \(wanted)"
  }
}

/// A topic as it is.
public struct TopicDescription: Sendable, Hashable {
  /// Its name.
  public let name: String
  /// How many partitions it has.
  public let partitions: Int

  /// A topic as it is.
  public init(name: String, partitions: Int) {
    self.name = name
    self.partitions = partitions
  }

  /// Its partitions in order.
  public var topicPartitions: [TopicPartition] { (0..<partitions).map { TopicPartition(name, $0) } }
}

/// The ends of a partition.
public struct Watermarks: Sendable, Hashable {
  /// Which partition.
  public let topicPartition: TopicPartition
  /// The first offset that is still kept; equal to `end` when it is empty.
  public let first: Int64
  /// The offset that the next record gets.
  public let end: Int64

  /// The ends of a partition.
  public init(topicPartition: TopicPartition, first: Int64, end: Int64) {
    self.topicPartition = topicPartition
    self.first = first
    self.end = end
  }
}

/// Where a record is.
public struct RecordPosition: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Which partition.
  public let topicPartition: TopicPartition
  /// Its offset there.
  public let offset: Int64

  /// Where a record is.
  public init(_ topicPartition: TopicPartition, _ offset: Int64) {
    self.topicPartition = topicPartition
    self.offset = offset
  }

  /// By partition, then by offset.
  public static func < (left: RecordPosition, right: RecordPosition) -> Bool {
    left.topicPartition != right.topicPartition
      ? left.topicPartition < right.topicPartition : left.offset < right.offset
  }
  /// `topic[partition]@offset`.
  public var description: String { "\(topicPartition)@\(offset)" }
}

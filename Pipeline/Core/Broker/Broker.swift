/// Keeps topics. Two engines implement it (SQLite, Kafka), and one conformance suite holds both to what is said here.
///
/// A topic is a set of partitions; a partition is a sequence of records with rising offsets. A record that was
/// acknowledged survives a crash of this process and of the machine, as far as the engine's storage does.
///
/// Every method may be called from any task. All of them fail with `.closed` after `close`.
public protocol Broker: Sendable {
  /// Creates what does not exist yet. Calling it again with the same specification changes nothing.
  ///
  /// - Throws: `.mismatch` if a topic exists with another number of partitions, or is set up so that what is promised
  ///   here would not hold. See `inspect`.
  func create(_ topics: [TopicSpecification]) async throws(BrokerError)

  /// What existing topics have otherwise than they should; those that do not exist are left out. Changes nothing.
  func inspect(_ topics: [TopicSpecification]) async throws(BrokerError) -> [TopicDifference]

  /// Gives topics more partitions: so many in all. What is in them stays where it is, and new records of its key may go
  /// elsewhere; members of groups and other processes may go on with as many as they know of, so there should be none.
  /// Not all or none: done again, it does the rest.
  ///
  /// - Throws: `.mismatch` if one has more than that already; `.unknownTopic`.
  func grow(_ topics: [String], to partitions: Int) async throws(BrokerError)

  /// Deletes topics with all their records and the groups' offsets in them. One that does not exist is no error.
  func delete(_ topics: [String]) async throws(BrokerError)

  /// Every topic whose name begins with `prefix`, sorted by name.
  func topics(prefix: String) async throws(BrokerError) -> [TopicDescription]

  /// Appends records, all or none, and returns once they are durable, with where each one is.
  ///
  /// - Throws: `.unavailable` when the broker cannot be reached, `.storageFull` below the disk reserve; in both cases
  ///   nothing was appended, or (`.unknownResult`) it is not known whether it was.
  @discardableResult
  func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition]

  /// Becomes a member of `group`, which shares the partitions of `topics` among its members.
  ///
  /// All members of a group name the same topics, in the same order. The topics have equal partition counts, and
  /// partition n of all of them belongs to the same member (Kafka's range assignment).
  func join(_ membership: Membership) async throws(BrokerError) -> any Consumer

  /// Reads without a group: records of one partition from `offset` on, at most `limit`, up to the end as it is now.
  /// Skips gaps. An empty result means the end. For browsing, tracing and time travel.
  ///
  /// - Throws: `.outOfRange` if `offset` is below the first that is still kept, or beyond the end.
  func read(_ partition: TopicPartition, from offset: Int64, limit: Int) async throws(BrokerError) -> [Record]

  /// The first record at or behind each position, by partition; one that has none, or whose position is out of range,
  /// is left out. For looking at the heads of many partitions at once.
  func first(at positions: [RecordPosition]) async throws(BrokerError) -> [TopicPartition: Record]

  /// First offset still kept and the offset that the next record gets, for each partition.
  func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks]

  /// The offset of the first record appended at `time` or later; the end if there is none.
  func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64

  /// Where `group` stands in `topics`, for every partition that it has settled something in: the offset it would read
  /// next. Topics that do not exist are left out.
  func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64]

  /// Who has which partition of those of `topics` that `group` reads; nil for one that nobody has.
  func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?]

  /// Ends all consumers and frees everything. What was loaded of records that are still in hand stays readable; a value
  /// that was left with the broker cannot be loaded any more (`.closed`).
  func close() async
}

extension Broker {
  /// Nothing: what has no settings cannot have wrong ones.
  public func inspect(_ topics: [TopicSpecification]) async throws(BrokerError) -> [TopicDifference] { [] }

  /// One partition after the other.
  public func first(at positions: [RecordPosition]) async throws(BrokerError) -> [TopicPartition: Record] {
    var result: [TopicPartition: Record] = [:]
    for position in positions {
      do throws(BrokerError) {
        let found = try await read(position.topicPartition, from: position.offset, limit: 1)
        if let record = found.first { result[position.topicPartition] = record }
      } catch { if error.kind != .outOfRange { throw error } }
    }
    return result
  }
}

/// How to join a group.
public struct Membership: Sendable {
  /// The consumer group.
  public var group: String
  /// What it reads. See `Broker.join`.
  public var topics: [String]
  /// A name for this member that stays over a restart (Kafka's static membership): whoever joins under it replaces the
  /// one before, at once, and the one before may settle nothing any more.
  public var instance: String
  /// Whether records come with their values, or leave them with the broker until asked.
  public var loadsValues: Bool
  /// How long a member that has to give a partition up may go on to settle what it has in hand.
  public var revokeDeadline: Duration

  /// How to join a group.
  public init(
    group: String, topics: [String], instance: String, loadsValues: Bool = true, revokeDeadline: Duration = .seconds(10)
  ) {
    self.group = group
    self.topics = topics
    self.instance = instance
    self.loadsValues = loadsValues
    self.revokeDeadline = revokeDeadline
  }
}

/// A member of a group. Pulled: nothing is handed out that was not asked for.
///
/// `next` has one caller at a time; everything else may be called meanwhile.
public protocol Consumer: Sendable {
  /// Waits until something happens, and says what.
  ///
  /// Records of one partition come in order, each once while the assignment lasts, starting behind what the group has
  /// settled there. At most `limit` records, of partitions that are not paused.
  ///
  /// - Throws: `CancellationError` kind `.cancelled` if the task is cancelled while waiting: nothing is lost, the next
  ///   call goes on. `.fenced` when another member took this one's name. `.outOfRange` when the next record of a
  ///   partition is gone: never a silent jump.
  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent

  /// Makes outputs visible and moves the group on, together or not at all, also over a crash.
  ///
  /// When it returns, both are durable. Every output is in its topic exactly once (`guarantee: exactly-once`).
  ///
  /// - Throws: `.fenced` if a partition named in `settlement.progress` no longer belongs to this member under the
  ///   generation that its records carry: then nothing of the settlement happened. `.unknownResult`: the consumer has
  ///   to be closed and joined again, and then goes on from what was really settled.
  func settle(_ settlement: Settlement) async throws(BrokerError)

  /// Stops handing out records of these partitions; what `next` has returned stays in hand.
  func pause(_ partitions: [TopicPartition]) async throws(BrokerError)

  /// Goes on with them, behind the last record that was handed out.
  func resume(_ partitions: [TopicPartition]) async throws(BrokerError)

  /// The next record that `next` returns of the partition is the first at `offset` or behind it.
  ///
  /// - Throws: `.outOfRange`; `.fenced` if the partition does not belong to this member.
  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError)

  /// Gives partitions up that `.revoking` named: from here on nothing of them can be settled.
  func release(_ partitions: [TopicPartition]) async throws(BrokerError)

  /// Leaves the group, so that others take over at once. A blocked `next` ends with `.closed`.
  func close() async
}

/// What a consumer has to say.
public enum ConsumerEvent: Sendable {
  /// Records, in order within each partition; never empty.
  case records([Record])
  /// These partitions belong to this member now.
  case assigned([TopicPartition])
  /// These have to be given up: settle what is in hand, then `release`. Nothing more of them is handed out. After
  /// `Membership.revokeDeadline` they are taken.
  case revoking([TopicPartition])
  /// These were taken (this member was away too long): nothing of them can be settled.
  case lost([TopicPartition])
}

/// What a hop leaves behind: its outputs, and how far the group has come.
public struct Settlement: Sendable {
  /// How far one partition is done.
  public struct Progress: Sendable {
    /// Which.
    public let topicPartition: TopicPartition
    /// The assignment under which the records were handed out (`Record.generation`).
    public let generation: Int64
    /// The offset behind the last record that is done.
    public let next: Int64
    /// The records that are done now, in order, between the last progress and `next`; for each of them whether an
    /// output passes its content on. A broker that keeps content by reference frees what nobody passes on.
    public let settled: [Record]

    /// How far one partition is done.
    public init(topicPartition: TopicPartition, generation: Int64, next: Int64, settled: [Record]) {
      self.topicPartition = topicPartition
      self.generation = generation
      self.next = next
      self.settled = settled
    }
  }

  /// What is appended, to any topics.
  public var outputs: [OutgoingRecord]
  /// At most one entry a partition.
  public var progress: [Progress]

  /// What a hop leaves behind.
  public init(outputs: [OutgoingRecord] = [], progress: [Progress] = []) {
    self.outputs = outputs
    self.progress = progress
  }
}

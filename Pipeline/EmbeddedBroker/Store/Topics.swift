import Pipeline

/// A topic, as the store keeps it in memory.
final class Topic {
  let id: Int64
  let name: String
  fileprivate(set) var retention: Retention
  fileprivate(set) var partitions: [Partition] = []

  fileprivate init(id: Int64, name: String, retention: Retention) {
    self.id = id
    self.name = name
    self.retention = retention
  }
}

/// `TopicSpecification.Retention` as two columns.
struct Retention: Equatable {
  enum Kind: Int64 { case untilSettled = 0, time, compacted, unlimited }
  let kind: Kind
  /// Microseconds.
  let window: Int64

  init(kind: Kind, window: Int64) {
    self.kind = kind
    self.window = window
  }

  init(_ retention: TopicSpecification.Retention) {
    switch retention {
    case .untilSettled(let window): self.init(kind: .untilSettled, window: max(0, window.microseconds))
    case .time(let time): self.init(kind: .time, window: max(0, time.microseconds))
    case .compacted: self.init(kind: .compacted, window: 0)
    case .unlimited: self.init(kind: .unlimited, window: 0)
    }
  }
}

/// A partition: its statements, and what is known of its rows as long as `BrokerStore.stamp` stands.
final class Partition {
  let id: Int64
  let name: TopicPartition
  unowned let topic: Topic
  fileprivate let connection: Connection
  fileprivate var endStamp = 0
  fileprivate var groupStamp = 0
  fileprivate(set) var storedFloor: Int64 = 0
  /// The last transaction that appended to it.
  var touchedIn = 0
  /// The offset that the next record gets.
  var next: Int64 = 0
  /// Where each group stands that has ever joined; nil: it has settled nothing yet.
  var positions: [(group: Int64, next: Int64?)] = []
  /// Records settled since it was last trimmed.
  var settledSinceTrim: Int64 = 0

  fileprivate init(id: Int64, name: TopicPartition, topic: Topic, connection: Connection) {
    self.id = id
    self.name = name
    self.topic = topic
    self.connection = connection
  }

  /// Records below this offset hold their content no longer: it was passed on or released when the last group settled
  /// them. Rises only. Only topics that keep records until they are settled have one.
  ///
  /// With the groups where they are, it follows from their positions; `partition.given` is written only when one of
  /// them is about to go back or a new group to appear.
  var given: Int64 {
    guard topic.retention.kind == .untilSettled, !positions.isEmpty else { return storedFloor }
    var least = Int64.max
    for position in positions {
      guard let next = position.next else { return storedFloor }
      least = min(least, next)
    }
    return max(storedFloor, least)
  }

  /// What is asked of a partition's table; each statement is prepared when first needed.
  enum Kind: Int, CaseIterable {
    case insert, select, first, last, contents, delete, firstSince
    case olderOfKey, deleteOlderOfKey

    fileprivate func sql(_ table: String) -> String {
      switch self {
      case .insert:
        "INSERT INTO \(table)(offset,at,sum,size,content,key,headers,value) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"
      case .select:
        """
        SELECT offset,at,sum,size,content,key,headers,value FROM \(table) WHERE offset>=?1 ORDER BY offset LIMIT ?2
        """
      case .first: "SELECT min(offset) FROM \(table)"
      case .last: "SELECT max(offset) FROM \(table)"
      case .contents:
        "SELECT content FROM \(table) WHERE offset>=?1 AND offset<?2 AND content IS NOT NULL ORDER BY offset"
      case .delete: "DELETE FROM \(table) WHERE offset>=?1 AND offset<?2"
      case .firstSince: "SELECT offset FROM \(table) WHERE offset>=?1 AND offset<?2 AND at>=?3 ORDER BY offset LIMIT 1"
      case .olderOfKey:
        "SELECT content FROM \(table) WHERE key=?1 AND offset<?2 AND content IS NOT NULL ORDER BY offset"
      case .deleteOlderOfKey: "DELETE FROM \(table) WHERE key=?1 AND offset<?2"
      }
    }
  }
  fileprivate var queries = [Query?](repeating: nil, count: Kind.allCases.count)

  func query(_ kind: Kind) throws(BrokerError) -> Query {
    if let query = queries[kind.rawValue] { return query }
    let query = try connection.prepare(kind.sql("p_\(id)"))
    queries[kind.rawValue] = query
    return query
  }

  /// The first offset that is kept; nil: none.
  func first() throws(BrokerError) -> Int64? { try query(.first).first() }
}

extension BrokerStore {
  static let maximumPartitions = 10_000
  static let maximumNameSize = 200

  // MARK: Looking up

  func topic(_ name: String) throws(BrokerError) -> Topic {
    if let topic = topics[name] { return topic }
    let query = try connection.query("SELECT id, retention, window FROM topic WHERE name=?1")
    query.bind(1, name)
    guard try query.step() else {
      throw BrokerError(.unknownTopic, "there is no topic \(name)", hint: "create it first")
    }
    let kind = Retention.Kind(rawValue: query.int(1)) ?? .unlimited
    let topic = Topic(id: query.int(0), name: name, retention: Retention(kind: kind, window: query.int(2)))
    query.reset()
    let rows = try connection.query("SELECT id, number FROM partition WHERE topic=?1 ORDER BY number")
    rows.bind(1, topic.id)
    while try rows.step() {
      let name = TopicPartition(name, Int(rows.int(1)))
      topic.partitions.append(Partition(id: rows.int(0), name: name, topic: topic, connection: connection))
    }
    topics[name] = topic
    for partition in topic.partitions { partitions[partition.id] = partition }
    return topic
  }

  func partition(_ name: TopicPartition) throws(BrokerError) -> Partition {
    let topic = try topic(name.topic)
    guard topic.partitions.indices.contains(name.partition) else {
      throw BrokerError(
        .unknownTopic, "\(name.topic) has \(topic.partitions.count) partitions, and none with number \(name.partition)")
    }
    return topic.partitions[name.partition]
  }

  /// The partition with this id; `name` is for the case that its topic is not in memory.
  func partition(_ id: Int64, _ name: TopicPartition) throws(BrokerError) -> Partition {
    if let partition = partitions[id] { return partition }
    let found = try partition(name)
    guard found.id == id else { throw BrokerError(.unknownTopic, "\(name.topic) was deleted and made anew") }
    return found
  }

  /// Makes sure that `next` is known.
  func loadEnd(_ partition: Partition) throws(BrokerError) {
    guard partition.endStamp != stamp else { return }
    let query = try connection.query("SELECT next, given FROM partition WHERE id=?1")
    query.bind(1, partition.id)
    guard try query.step() else { throw BrokerError(.unknownTopic, "\(partition.name.topic) was deleted") }
    let stored = query.int(0)
    partition.storedFloor = query.int(1)
    query.reset()
    let last = try partition.query(.last).first()
    partition.next = max(stored, last.map { $0 + 1 } ?? 0)
    partition.endStamp = stamp
  }

  /// Makes sure that `positions` and `given` are known.
  func loadPositions(_ partition: Partition) throws(BrokerError) {
    try loadEnd(partition)
    guard partition.groupStamp != stamp else { return }
    let query = try connection.query(
      """
      SELECT s."group", c.next FROM subscription s
      LEFT JOIN committed c ON c.partition=?2 AND c."group"=s."group" WHERE s.topic=?1 ORDER BY 1
      """)
    query.bindAll(partition.topic.id, partition.id)
    partition.positions.removeAll(keepingCapacity: true)
    while try query.step() { partition.positions.append((query.int(0), query.isNull(1) ? nil : query.int(1))) }
    partition.groupStamp = stamp
  }

  /// Writes `given` down, before a position goes back or a new group appears.
  func keepGiven(_ partition: Partition) throws(BrokerError) {
    try loadPositions(partition)
    let given = partition.given
    guard given > partition.storedFloor else { return }
    let query = try connection.query("UPDATE partition SET given=?2 WHERE id=?1")
    query.bindAll(partition.id, given)
    try query.run()
    partition.storedFloor = given
  }

  // MARK: Making and deleting

  func create(_ specifications: [TopicSpecification]) throws(BrokerError) {
    var missing: [TopicSpecification] = []
    var changed: [(topic: Topic, retention: Retention)] = []
    for specification in specifications {
      try Self.check(specification)
      let known: Topic
      do { known = try topic(specification.name) } catch {
        guard error.kind == .unknownTopic else { throw error }
        if let other = missing.first(where: { $0.name == specification.name }), other != specification {
          throw BrokerError(.mismatch, "topic \(specification.name) is named twice, with different specifications")
        }
        if !missing.contains(specification) { missing.append(specification) }
        continue
      }
      guard known.partitions.count == specification.partitions else {
        throw BrokerError(
          .mismatch,
          "topic \(known.name) has \(known.partitions.count) partitions, not \(specification.partitions)",
          hint: known.partitions.count < specification.partitions
            ? "the command `grow` adds partitions" : "a topic never gets fewer: use another name for the stage")
      }
      let retention = Retention(specification.retention)
      guard retention != known.retention else { continue }
      guard (retention.kind == .compacted) == (known.retention.kind == .compacted) else {
        throw BrokerError(.mismatch, "topic \(known.name) cannot begin or cease to be compacted")
      }
      changed.append((known, retention))
    }
    guard !missing.isEmpty || !changed.isEmpty else { return }
    if !missing.isEmpty { try checkRoom() }
    for specification in missing { try insert(specification) }
    for (topic, retention) in changed { try change(topic, to: retention) }
    try catalogueChanged()
  }

  private func change(_ topic: Topic, to retention: Retention) throws(BrokerError) {
    for partition in topic.partitions { try keepGiven(partition) }
    topic.retention = retention
    for partition in topic.partitions {
      // A topic that keeps records until they are settled holds no content of settled ones: what the other kinds do.
      try releaseContents(of: partition, from: partition.storedFloor, to: partition.given)
      try keepGiven(partition)
    }
    let query = try connection.query("UPDATE topic SET retention=?2, window=?3 WHERE id=?1")
    query.bindAll(topic.id, retention.kind.rawValue, retention.window)
    try query.run()
  }

  private static func check(_ specification: TopicSpecification) throws(BrokerError) {
    let name = specification.name.utf8
    let isAllowed = name.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard isAllowed, !name.isEmpty, name.count <= maximumNameSize else {
      throw BrokerError(
        .mismatch, "\(specification.name.prefix(100)) cannot be a topic's name",
        hint: "use letters, digits, '.', '-' and '_', at most \(maximumNameSize)")
    }
    guard (1...maximumPartitions).contains(specification.partitions) else {
      throw BrokerError(
        .mismatch, "topic \(specification.name) cannot have \(specification.partitions) partitions",
        hint: "1 to \(maximumPartitions)")
    }
  }

  private func insert(_ specification: TopicSpecification) throws(BrokerError) {
    let retention = Retention(specification.retention)
    let query = try connection.query("INSERT INTO topic(name,partitions,retention,window) VALUES(?1,?2,?3,?4)")
    query.bind(1, specification.name)
    query.bind(2, specification.partitions)
    query.bind(3, retention.kind.rawValue)
    query.bind(4, retention.window)
    try query.run()
    let topic = try connection.int("SELECT last_insert_rowid()") ?? 0
    try insertPartitions(0..<specification.partitions, of: topic, isCompacted: retention.kind == .compacted)
  }

  private func insertPartitions(_ numbers: Range<Int>, of topic: Int64, isCompacted: Bool) throws(BrokerError) {
    let row = try connection.query("INSERT INTO partition(topic,number) VALUES(?1,?2)")
    for number in numbers {
      row.bindAll(topic, Int64(number))
      try row.run()
      let id = try connection.int("SELECT last_insert_rowid()") ?? 0
      try Schema.createPartition(id, isCompacted: isCompacted, connection)
    }
  }

  func grow(_ names: [String], to count: Int) throws(BrokerError) {
    try checkRoom()
    for name in names {
      let known = try topic(name)
      guard known.partitions.count <= count, count <= Self.maximumPartitions else {
        throw BrokerError(
          .mismatch, "topic \(name) has \(known.partitions.count) partitions, and cannot have \(count)",
          hint: "a topic never gets fewer, and at most \(Self.maximumPartitions)")
      }
      try insertPartitions(
        known.partitions.count..<count, of: known.id, isCompacted: known.retention.kind == .compacted)
      let query = try connection.query("UPDATE topic SET partitions=?2 WHERE id=?1")
      query.bindAll(known.id, Int64(count))
      try query.run()
    }
    try catalogueChanged()
  }

  func delete(_ names: [String]) throws(BrokerError) {
    var isChanged = false
    for name in names {
      let found: Topic
      do { found = try topic(name) } catch {
        if error.kind == .unknownTopic { continue }
        throw error
      }
      isChanged = true
      for partition in found.partitions {
        try loadPositions(partition)
        try releaseContents(of: partition, from: partition.given, to: .max)
        touch(partition)
        let committed = try connection.query("DELETE FROM committed WHERE partition=?1")
        committed.bindAll(partition.id)
        try committed.run()
      }
      // Statements on a table must be gone before it is.
      topics[name] = nil
      for partition in found.partitions {
        partitions[partition.id] = nil
        partition.queries = Array(repeating: nil, count: Partition.Kind.allCases.count)
        try connection.execute("DROP TABLE p_\(partition.id)")
      }
      for sql in [
        "DELETE FROM subscription WHERE topic=?1", "DELETE FROM partition WHERE topic=?1",
        "DELETE FROM topic WHERE id=?1",
      ] {
        let query = try connection.query(sql)
        query.bindAll(found.id)
        try query.run()
      }
    }
    if isChanged { try catalogueChanged() }
  }

  private func catalogueChanged() throws(BrokerError) {
    _ = try take("catalogue")
    windowStamp = 0
    topics.removeAll()
    partitions.removeAll()
  }

  func describe(prefix: String) throws(BrokerError) -> [TopicDescription] {
    let query = try connection.query("SELECT name, partitions FROM topic WHERE substr(name,1,?2)=?1 ORDER BY name")
    query.bind(1, prefix)
    query.bind(2, prefix.unicodeScalars.count)
    var result: [TopicDescription] = []
    while try query.step() { result.append(TopicDescription(name: query.text(0), partitions: Int(query.int(1)))) }
    return result
  }
}

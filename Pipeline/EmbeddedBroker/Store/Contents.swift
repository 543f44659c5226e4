import Pipeline

/// Content is stored once, and records refer to it.
///
/// A record refers to its content from its append until it is *given*: until the last group has settled it (topics that
/// keep records until they are settled), or until it is deleted (all others). A hop that passes content on therefore
/// takes one reference and gives one up, and writes nothing here. What nobody refers to is deleted behind the window
/// for time travel, so that settled records can still be read for as long.
extension BrokerStore {
  /// Stores a value, with one reference.
  func insertContent(_ bytes: UnsafeRawBufferPointer) throws(BrokerError) -> Int64 {
    let id = try contentID()
    let query = try connection.query("INSERT INTO content(id,sum,data) VALUES(?1,?2,?3)")
    query.bind(1, id)
    query.bind(2, Self.sum(of: bytes, id: id))
    query.bind(3, borrowing: bytes)
    try query.run()
    nextContent = id + 1
    return id
  }

  private func contentID() throws(BrokerError) -> Int64 {
    if let nextContent { return nextContent }
    let last = try connection.int("SELECT max(id) FROM content") ?? 0
    return max(try counter("content"), last + 1)
  }

  static func sum(of bytes: UnsafeRawBufferPointer, id: Int64) -> Int64 {
    var sum = Checksum()
    sum.add(id)
    sum.add(bytes)
    return sum.value
  }

  /// Hands the stored bytes to `body`, which may keep a copy.
  func content<R>(
    _ id: Int64, of position: @autoclosure () -> RecordPosition, _ body: (UnsafeRawBufferPointer) -> R
  ) throws(BrokerError) -> R {
    let query = try connection.query("SELECT sum, data FROM content WHERE id=?1")
    query.bindAll(id)
    guard try query.step() else {
      throw BrokerError(
        .outOfRange, "the value of \(position()) has been deleted",
        hint: "it was settled, and the window for time travel is over")
    }
    defer { query.reset() }
    let bytes = query.blob(1)
    guard Self.sum(of: bytes, id: id) == query.int(0) else {
      throw BrokerError(
        .corrupt, "the value of \(position()) is damaged on the disk", hint: "restore a backup of \(connection.path)")
    }
    return body(bytes)
  }

  /// The bytes, read and verified once for all stages that come one after another: content never changes, and its id is
  /// never given to other content once it is committed. What is deleted meanwhile may be had a little longer.
  func recentContent(_ id: Int64, of position: @autoclosure () -> RecordPosition) throws(BrokerError) -> Bytes {
    if let bytes = recent.find(id) { return bytes }
    let bytes = try content(id, of: position()) { Bytes($0) }
    recent.keep(bytes, id, count: bytes.count)
    return bytes
  }

  func contentExists(_ id: Int64) throws(BrokerError) -> Bool {
    let query = try connection.query("SELECT 1 FROM content WHERE id=?1")
    query.bindAll(id)
    return try query.first() != nil
  }

  // MARK: References

  /// References that appear and vanish in one operation, by content.
  struct References {
    /// Content ids with how many references more or fewer, each once, in the order of appearance.
    private(set) var changes: [(content: Int64, by: Int64)] = []
    private var index: [Int64: Int] = [:]

    var isEmpty: Bool { changes.isEmpty }

    mutating func add(_ content: Int64, _ by: Int64) {
      if let at = index[content] {
        changes[at].by += by
      } else {
        index[content] = changes.count
        changes.append((content, by))
      }
    }

    /// One more for each of `taken`, one fewer for each of `given`.
    init(taken: [Int64], given: [Int64]) {
      // The usual hop passes everything on, in order.
      if taken == given { return }
      for content in taken { add(content, 1) }
      for content in given { add(content, -1) }
      changes.removeAll { $0.by == 0 }
    }
  }

  /// Refuses references to content that is gone. Changes nothing.
  func check(_ references: References) throws(BrokerError) {
    for (content, by) in references.changes where by > 0 {
      guard try contentExists(content) else {
        throw BrokerError(
          .outOfRange, "the value of a record that is to be passed on has been deleted",
          hint: "it was settled, and the window for time travel is over")
      }
    }
  }

  func apply(_ references: References) throws(BrokerError) {
    guard !references.isEmpty else { return }
    let window = try releaseWindow()
    for (content, by) in references.changes {
      let before = try count(of: content)
      try set(content, from: before, to: max(0, before + by), window: window)
    }
  }

  private func count(of content: Int64) throws(BrokerError) -> Int64 {
    let share = try connection.query("SELECT count FROM share WHERE content=?1")
    share.bindAll(content)
    if let count = try share.first() { return count }
    let released = try connection.query("SELECT 1 FROM released WHERE content=?1")
    released.bindAll(content)
    return try released.first() == nil ? 1 : 0
  }

  private func set(_ content: Int64, from before: Int64, to after: Int64, window: Int64) throws(BrokerError) {
    if before > 1, after <= 1 { try run("DELETE FROM share WHERE content=?1", content) }
    if before == 0, after > 0 { try run("DELETE FROM released WHERE content=?1", content) }
    if after > 1 { try run("INSERT OR REPLACE INTO share VALUES(?1,?2)", content, after) }
    guard after == 0, before > 0 else { return }
    if window == 0 {
      try deleteContent(content)
    } else {
      try run("INSERT OR REPLACE INTO released VALUES(?1,?2)", content, clock.now.microseconds)
    }
  }

  func run(_ sql: String, _ first: Int64, _ second: Int64? = nil) throws(BrokerError) {
    let query = try connection.query(sql)
    query.bind(1, first)
    if let second { query.bind(2, second) }
    try query.run()
  }

  /// Deletes content for good. Its id is never given out again.
  func deleteContent(_ id: Int64) throws(BrokerError) {
    // Whoever counts on from the highest id must not come upon this one.
    let next = try contentID()
    if id == next - 1 { try set("content", to: next) }
    try run("DELETE FROM content WHERE id=?1", id)
  }

  /// Gives up the references of a partition's records from `first` up to `end`.
  func releaseContents(of partition: Partition, from first: Int64, to end: Int64) throws(BrokerError) {
    let given = try contents(of: partition, from: first, to: end)
    try apply(References(taken: [], given: given))
  }

  /// The content that records from `first` up to `end` refer to.
  func contents(of partition: Partition, from first: Int64, to end: Int64) throws(BrokerError) -> [Int64] {
    guard first < end else { return [] }
    let query = try partition.query(.contents)
    query.bindAll(first, end)
    var result: [Int64] = []
    while try query.step() { result.append(query.int(0)) }
    return result
  }

  /// How long released content stays, in microseconds: as long as any topic wants to look back.
  func releaseWindow() throws(BrokerError) -> Int64 {
    if windowStamp == stamp { return window }
    window = try connection.int("SELECT max(window) FROM topic WHERE retention=0") ?? 0
    windowStamp = stamp
    return window
  }
}

import Pipeline

/// What a store is told from outside.
struct StoreSettings: Sendable {
  /// Values above this many bytes are kept apart, once.
  var inlineLimit = 1024
  /// Bytes that the disk must have left for new records to be taken.
  var reserve: Int64 = 0
  /// Bytes that the disk has left; nil: unknown.
  var freeSpace: @Sendable () -> Int64? = { nil }
  /// How often a process with members says that it is alive.
  var beat = Duration.seconds(3)
  /// How long one may be silent before others take over.
  var lease = Duration.seconds(10)
}

/// Everything that is said to SQLite: topics, records, groups, on one connection.
///
/// Not Sendable: a `StoreQueue` owns it and lets one operation at a time in. An operation that changes something checks
/// everything before its first change, so that one that is refused leaves the transaction, which it may share with
/// others, as it was.
///
/// What it keeps in memory (next offsets, catalogue) is forgotten whenever another connection has committed, and after
/// a rollback.
final class BrokerStore {
  let connection: Connection
  let settings: StoreSettings
  let clock: any PipelineClock
  /// Whose content this is; the reading and the writing connection of a process have the same.
  let identity: StoreIdentity
  /// Loads content of batches made here, later.
  let contents: any ContentSource
  let isWritable: Bool

  var topics: [String: Topic] = [:]
  var partitions: [Int64: Partition] = [:]
  var groups: [String: Int64] = [:]
  /// Rises when what is kept in memory of rows has to be read anew.
  private(set) var stamp = 1
  private var seenVersion: Int64 = -1
  private var seenCatalogue: Int64 = -1
  /// The id that the next content gets; nil: to be read.
  var nextContent: Int64?

  /// Content that was read lately.
  var recent = Recent<Int64, Bytes>()

  /// What the transaction has appended to, and whose assignments it has changed, to wake those who wait.
  var touched = Touched()
  private var transaction = 0
  private var maintainedAt = Timestamp(microseconds: 0)
  /// Bytes that the transaction has appended.
  var appendedBytes = 0
  /// Whether the disk had more than the reserve left when the transaction began; nil: not looked yet.
  private var hasRoom: Bool?
  /// See `releaseWindow`.
  var window: Int64 = 0
  var windowStamp = 0
  /// Partitions with something to trim, oldest first.
  var trimQueue: [Int64] = []
  /// Where the round of all partitions stands; see `trimStep`.
  var trimRound: Int64 = 0

  struct Touched: Sendable {
    var partitions: [Int64] = []
    var groups: [Int64] = []
    var isEmpty: Bool { partitions.isEmpty && groups.isEmpty }
  }

  init(
    connection: Connection, settings: StoreSettings, clock: any PipelineClock, identity: StoreIdentity,
    contents: any ContentSource, isWritable: Bool
  ) throws(BrokerError) {
    self.connection = connection
    self.settings = settings
    self.clock = clock
    self.identity = identity
    self.contents = contents
    self.isWritable = isWritable
    if isWritable { try Schema.prepare(connection) } else { try Schema.check(connection) }
  }

  // MARK: Transactions

  /// Takes the write lock.
  func begin() throws(BrokerError) {
    try connection.begin()
    do { try refresh() } catch {
      connection.rollback()
      throw error
    }
    transaction += 1
    touched = Touched()
    appendedBytes = 0
    hasRoom = nil
  }

  /// Notes that waiting consumers of the partition have something to look at after the commit.
  func touch(_ partition: Partition) {
    guard partition.touchedIn != transaction else { return }
    partition.touchedIn = transaction
    touched.partitions.append(partition.id)
  }

  func commit() throws(BrokerError) { try connection.commit() }

  /// Undoes the transaction, and forgets what was learned in it.
  func rollback() {
    connection.rollback()
    connection.failure = nil
    touched = Touched()
    forget()
  }

  /// Runs `body` on one unchanging view of the database.
  func reading<R>(_ body: (BrokerStore) throws(BrokerError) -> R) throws(BrokerError) -> R {
    try connection.beginRead()
    defer {
      connection.rollback()
      connection.failure = nil
    }
    try refresh()
    return try body(self)
  }

  private func refresh() throws(BrokerError) {
    let version = try connection.dataVersion()
    guard version != seenVersion else { return }
    seenVersion = version
    stamp += 1
    nextContent = nil
    let catalogue = try counter("catalogue")
    guard catalogue != seenCatalogue else { return }
    seenCatalogue = catalogue
    topics.removeAll()
    partitions.removeAll()
  }

  private func forget() {
    stamp += 1
    nextContent = nil
    // What was undone gives its ids to others.
    recent = Recent()
    seenVersion = -1
    seenCatalogue = -1
    topics.removeAll()
    partitions.removeAll()
    groups.removeAll()
  }

  // MARK: Maintenance

  /// What has to be done now and then, in the transaction that is open: one step of trimming, and, when it is time,
  /// signs of life and a round through partitions that nobody writes to.
  func maintain(_ hearts: [Heart]) throws(BrokerError) {
    try trimNext()
    let now = clock.now
    guard now >= maintainedAt + settings.beat || now < maintainedAt else { return }
    maintainedAt = now
    for heart in hearts { try heart.beat(self, at: now) }
    try trimRound(limit: 64)
  }

  // MARK: Counters

  func counter(_ name: String) throws(BrokerError) -> Int64 {
    let query = try connection.query("SELECT value FROM counter WHERE name=?1")
    query.bind(1, name)
    return try query.first() ?? 0
  }

  /// The counter's value; it rises.
  func take(_ name: String) throws(BrokerError) -> Int64 {
    let value = try counter(name)
    try set(name, to: value + 1)
    return value
  }

  func set(_ name: String, to value: Int64) throws(BrokerError) {
    let query = try connection.query("UPDATE counter SET value=?2 WHERE name=?1")
    query.bind(1, name)
    query.bind(2, value)
    try query.run()
  }

  // MARK: Room

  /// Refuses new records when the disk has less than the reserve left. Looked up once a transaction.
  func checkRoom() throws(BrokerError) {
    let isEnough: Bool
    if let hasRoom {
      isEnough = hasRoom
    } else {
      isEnough = settings.freeSpace().map { $0 >= settings.reserve } ?? true
      hasRoom = isEnough
    }
    guard isEnough else {
      throw BrokerError(
        .storageFull, "less than \(settings.reserve >> 20) MiB are left on the disk of \(connection.path)",
        hint: "free space; what waits goes on meanwhile")
    }
  }
}

import Pipeline
import RdKafka

/// What a member of a group has, what it has yet to be told, and what it was asked to do: a value without I/O.
///
/// Its thread, the one that settles and the callers all look at it, under one lock.
struct MemberState {
  /// A caller of `next`.
  struct Waiter {
    let id: Int
    let limit: Int
    let answer: Answer<ConsumerEvent>
    var isCancelled = false
  }

  struct Seek: Sendable {
    let place: RecordPosition
    let answer: Answer<Void>
  }

  /// What has to be given up, as librdkafka named it, and with the partitions that go along.
  struct Revocation: Equatable {
    let partitions: [TopicPartition]
    let deadline: Int64
  }

  /// What an admitted settlement is made under.
  struct Admission: Sendable {
    let membership: GroupMembership?
    let epoch: Int
    let partitions: [TopicPartition]
  }

  private struct Cursor {
    let generation: Int64
    var isPaused = false
    var isRevoking = false
    var isReleased = false
  }

  private var cursors: [TopicPartition: Cursor] = [:]
  private var order: [TopicPartition] = []
  private var turn = 0
  private var generation: Int64 = 0
  private var events: [ConsumerEvent] = []
  private var troubles: [BrokerError] = []
  /// Ends everything: a successor has the name, or the client is dead.
  private var end: BrokerError?

  private(set) var waiter: Waiter?
  private var isClaimed = false
  private var nextWaiter = 0
  private var seeks: [Seek] = []

  private(set) var revocation: Revocation?
  private var settling: [TopicPartition: Int] = [:]
  private var membership: GroupMembership?
  /// Rises with every membership, so that a settlement that came too early can wait for the next.
  private(set) var epoch = 0
  private(set) var isClosing = false
  /// Whether the thread may leave the group: what was being settled is done.
  var mayLeave: Bool { isClosing && settling.isEmpty }
  /// Whether the thread has something to look at.
  var isRung = true

  // MARK: Settling

  /// Lets a settlement begin, if everything in it still belongs to this member.
  mutating func admit(_ progress: [Settlement.Progress]) throws(BrokerError) -> Admission {
    try checkOpen()
    if let end { throw end }
    for step in progress {
      guard let cursor = cursors[step.topicPartition], cursor.generation == step.generation, !cursor.isReleased else {
        throw BrokerError(
          .fenced, "\(step.topicPartition) no longer belongs to this member under generation \(step.generation)")
      }
    }
    let names = progress.map(\.topicPartition)
    for name in names { settling[name, default: 0] += 1 }
    return Admission(membership: membership, epoch: epoch, partitions: names)
  }

  mutating func settled(_ admission: Admission) {
    for name in admission.partitions { settling[name] = settling[name].flatMap { $0 > 1 ? $0 - 1 : nil } }
    isRung = true
  }

  // MARK: The assignment

  mutating func assigned(_ names: [TopicPartition], _ membership: GroupMembership?) {
    generation += 1
    for name in names { cursors[name] = Cursor(generation: generation) }
    order = cursors.keys.sorted()
    refresh(membership)
    if !names.isEmpty { events.append(.assigned(names.sorted())) }
  }

  mutating func refresh(_ membership: GroupMembership?) {
    self.membership = membership
    epoch += 1
  }

  mutating func beginRevoking(_ names: [TopicPartition], deadline: Int64) {
    let held = names.filter { cursors[$0] != nil }
    for name in held { cursors[name]?.isRevoking = true }
    revocation = Revocation(partitions: names, deadline: deadline)
    if !held.isEmpty { events.append(.revoking(held.sorted())) }
  }

  /// Takes everything away at once: others may have it already.
  mutating func lose(_ names: [TopicPartition]) {
    let held = names.filter { cursors[$0].map { !$0.isReleased } ?? false }
    for name in names { cursors[name] = nil }
    order = cursors.keys.sorted()
    if !held.isEmpty { events.append(.lost(held.sorted())) }
  }

  /// The revocation, if nothing speaks against answering it: everything was released, or its time is over, and no
  /// settlement of it is under way.
  mutating func takeRevocation(at now: Int64) -> Revocation? {
    guard let revocation else { return nil }
    let isReleased = revocation.partitions.allSatisfy { cursors[$0]?.isReleased ?? true }
    guard isReleased || now >= revocation.deadline || isClosing else { return nil }
    if !isReleased { lose(revocation.partitions) }
    // Nothing new of these is admitted from here on.
    for name in revocation.partitions { cursors[name]?.isReleased = true }
    guard revocation.partitions.allSatisfy({ settling[$0] == nil }) else { return nil }
    lose(revocation.partitions)
    self.revocation = nil
    return revocation
  }

  /// Takes the revocation away unanswered.
  mutating func dropRevocation() -> Revocation? {
    defer { revocation = nil }
    if let revocation { lose(revocation.partitions) }
    return revocation
  }

  mutating func fail(_ error: BrokerError) {
    if end == nil { end = error }
    lose(order)
    membership = nil
  }

  mutating func report(_ trouble: BrokerError) { troubles.append(trouble) }

  // MARK: Handing out

  /// Partitions to take records of, with their generations, each first in turn.
  mutating func readable() -> [(name: TopicPartition, generation: Int64)] {
    guard !order.isEmpty else { return [] }
    turn = (turn + 1) % order.count
    return order.indices.compactMap { step in
      let name = order[(turn + step) % order.count]
      guard let cursor = cursors[name], !cursor.isPaused, !cursor.isRevoking, !cursor.isReleased else { return nil }
      return (name, cursor.generation)
    }
  }

  mutating func wait(limit: Int, _ answer: Answer<ConsumerEvent>, id: Int) {
    waiter = Waiter(id: id, limit: max(1, limit), answer: answer)
    isRung = true
  }

  mutating func newWaiter() -> Int {
    nextWaiter += 1
    return nextWaiter
  }

  /// Ends the wait, unless the thread is taking records for it: then it decides by whether there were any.
  mutating func cancel(_ id: Int) -> Answer<ConsumerEvent>? {
    guard waiter?.id == id else { return nil }
    if isClaimed {
      waiter?.isCancelled = true
      return nil
    }
    defer { waiter = nil }
    return waiter?.answer
  }

  enum Turn {
    case nothing
    case answer(Answer<ConsumerEvent>, Result<ConsumerEvent, BrokerError>)
    /// Take at most so many records, then call `took`.
    case take(Int)
  }

  mutating func serve() -> Turn {
    guard let waiter else { return .nothing }
    var result: Result<ConsumerEvent, BrokerError>?
    if isClosing {
      result = .failure(BrokerError(.closed, "the consumer is closed"))
    } else if let event = takeEvent() {
      result = .success(event)
    } else if let end {
      result = .failure(end)
    } else if !troubles.isEmpty {
      result = .failure(troubles.removeFirst())
    }
    guard let result else {
      isClaimed = true
      return .take(waiter.limit)
    }
    self.waiter = nil
    return .answer(waiter.answer, result)
  }

  /// What the caller is to be told next.
  mutating func takeEvent() -> ConsumerEvent? { events.isEmpty ? nil : events.removeFirst() }

  mutating func took(_ records: [Record]) -> Turn {
    isClaimed = false
    guard let waiter else { return .nothing }
    if records.isEmpty, !waiter.isCancelled {
      if !events.isEmpty || !troubles.isEmpty || end != nil || isClosing { isRung = true }
      return .nothing
    }
    self.waiter = nil
    return .answer(waiter.answer, records.isEmpty ? .failure(.cancelledWait) : .success(.records(records)))
  }

  // MARK: What callers ask for

  func checkOpen() throws(BrokerError) {
    if isClosing { throw BrokerError(.closed, "the consumer is closed") }
  }

  func checkHas(_ name: TopicPartition) throws(BrokerError) {
    try checkOpen()
    if cursors[name] == nil { throw BrokerError(.fenced, "\(name) does not belong to this member") }
  }

  mutating func setPaused(_ isPaused: Bool, _ names: [TopicPartition]) throws(BrokerError) {
    try checkOpen()
    // A caller that has not heard of this assignment yet means the one before, which knew another place.
    for name in names where !isNews(name) { cursors[name]?.isPaused = isPaused }
    isRung = true
  }

  private func isNews(_ name: TopicPartition) -> Bool {
    events.contains { if case .assigned(let names) = $0 { names.contains(name) } else { false } }
  }

  mutating func release(_ names: [TopicPartition]) throws(BrokerError) {
    try checkOpen()
    for name in names where cursors[name]?.isRevoking == true { cursors[name]?.isReleased = true }
    isRung = true
  }

  mutating func add(_ seek: Seek) {
    seeks.append(seek)
    isRung = true
  }

  mutating func takeSeeks() -> [Seek] {
    defer { seeks = [] }
    return seeks
  }

  /// False if it was closed before.
  mutating func close() -> Bool {
    defer {
      isClosing = true
      isRung = true
    }
    return !isClosing
  }
}

extension BrokerError {
  static let cancelledWait = BrokerError(.cancelled, "the task was cancelled while waiting for records")
}

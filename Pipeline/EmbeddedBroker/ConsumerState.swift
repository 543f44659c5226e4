import Pipeline

/// What a member of a group has, where it reads on, and what it has yet to be told: a value without I/O.
struct ConsumerState {
  /// One partition that the member has.
  private struct Cursor {
    let id: Int64
    let name: TopicPartition
    let slot: Int
    let generation: Int64
    var position: Int64
    var isPaused = false
    var isRevoking = false
    var isReleased = false
    /// Rises with every seek, so that a fetch under way is not taken for what was sought.
    var seeks = 0
    /// Whether there may be records at `position`, and how often that was said.
    var mayHaveMore = true
    var notes = 0
  }

  /// What to read, as it was decided.
  struct FetchPlan {
    let member: BrokerStore.Member
    let epoch: Int64
    let wants: [BrokerStore.Want]
    fileprivate let marks: [(seeks: Int, notes: Int)]
  }

  enum Step {
    case closed
    case replaced
    case event(ConsumerEvent)
    /// Ask who has what; first take these, whose owners had their time.
    case synchronize([Assignment.Awaited])
    case fetch(FetchPlan)
    case wait(until: Timestamp)
  }

  private(set) var member: BrokerStore.Member
  private(set) var layout: BrokerStore.Layout
  private var cursors: [Cursor] = []
  private var indexOfID: [Int64: Int] = [:]
  private var awaited: [(slot: Assignment.Awaited, until: Timestamp)] = []
  /// Given up, and perhaps not yet so in the store.
  private var released: [(number: Int, generation: Int64)] = []
  private var events: [ConsumerEvent] = []
  private var epoch: Int64 = -1
  private var isSynchronized = false
  private var isReplaced = false
  private var isClosed = false
  /// Where the next fetch begins, so that every partition comes first in turn.
  private var turn = 0

  init(member: BrokerStore.Member, layout: BrokerStore.Layout) {
    self.member = member
    self.layout = layout
  }

  // MARK: Deciding

  /// What `next` does now.
  mutating func plan(at now: Timestamp, idle: Duration) -> Step {
    if isClosed { return .closed }
    if !events.isEmpty { return .event(events.removeFirst()) }
    if isReplaced { return .replaced }
    let due = awaited.filter { $0.until <= now }.map(\.slot)
    if !isSynchronized || !due.isEmpty { return .synchronize(due) }
    if let plan = fetchPlan() { return .fetch(plan) }
    return .wait(until: awaited.map(\.until).min().map { min($0, now + idle) } ?? now + idle)
  }

  private mutating func fetchPlan() -> FetchPlan? {
    guard !cursors.isEmpty else { return nil }
    var wants: [BrokerStore.Want] = []
    var marks: [(seeks: Int, notes: Int)] = []
    turn = (turn + 1) % cursors.count
    for step in cursors.indices {
      let cursor = cursors[(turn + step) % cursors.count]
      guard cursor.mayHaveMore, !cursor.isPaused, !cursor.isRevoking, !cursor.isReleased else { continue }
      wants.append(
        BrokerStore.Want(
          partition: cursor.id, name: cursor.name, position: cursor.position, generation: cursor.generation))
      marks.append((cursor.seeks, cursor.notes))
    }
    return wants.isEmpty ? nil : FetchPlan(member: member, epoch: epoch, wants: wants, marks: marks)
  }

  /// Takes what was fetched; returns the records to hand out. What was paused, sought or given up meanwhile is not.
  mutating func took(_ fetched: BrokerStore.Fetched, _ plan: FetchPlan) -> [Record] {
    if fetched.isStale {
      isSynchronized = false
      return []
    }
    var kept: [Record] = []
    var isWhole = true
    var at = 0
    for (index, want) in plan.wants.enumerated() {
      let range = at..<(at + fetched.counts[index])
      at = range.upperBound
      guard let place = indexOfID[want.partition], cursors[place].generation == want.generation,
        cursors[place].seeks == plan.marks[index].seeks, !cursors[place].isPaused, !cursors[place].isRevoking,
        !cursors[place].isReleased
      else {
        if isWhole {
          kept = Array(fetched.records[..<range.lowerBound])
          isWhole = false
        }
        continue
      }
      if !isWhole { kept += fetched.records[range] }
      cursors[place].position = fetched.positions[index]
      if fetched.isExhausted[index], cursors[place].notes == plan.marks[index].notes {
        cursors[place].mayHaveMore = false
      }
    }
    return isWhole ? fetched.records : kept
  }

  // MARK: The assignment

  mutating func beginSynchronizing() { isSynchronized = true }
  mutating func mustSynchronize() { isSynchronized = false }

  /// Takes over what the store says, and notes what has to be told.
  mutating func apply(_ assignment: Assignment, at now: Timestamp) {
    if assignment.standing == .replaced {
      isReplaced = true
      loseEverything()
      return
    }
    epoch = assignment.epoch
    let before = released
    released.removeAll { gone in
      !assignment.owned.contains { $0.number == gone.number && $0.generation == gone.generation }
    }
    let owned = assignment.owned.indices.filter { index in
      let slot = assignment.owned[index]
      return !before.contains { $0.number == slot.number && $0.generation == slot.generation }
    }
    let change = AssignmentChange(held: held, owned: owned.map { assignment.owned[$0] })
    tell(change.lost) { .lost($0) }
    cursors.removeAll { change.lost.contains($0.slot) }
    tell(change.revoking) { .revoking($0) }
    for index in cursors.indices where change.revoking.contains(cursors[index].slot) {
      cursors[index].isRevoking = true
    }
    for index in change.assigned {
      add(assignment.owned[owned[index]], assignment.positions[owned[index]])
    }
    let assigned = change.assigned.map { assignment.owned[owned[$0]].number }
    reindex()
    tell(assigned) { .assigned($0) }
    let passedOn = change.assigned.map { assignment.owned[owned[$0]] }.filter(\.isRevoked).map(\.number)
    tell(passedOn) { .revoking($0) }
    for index in cursors.indices where passedOn.contains(cursors[index].slot) { cursors[index].isRevoking = true }
    awaited = assignment.awaited.map { slot in
      let until = awaited.first { $0.slot == slot }?.until
      return (slot, until ?? now + .microseconds(slot.patience))
    }
  }

  private var held: [AssignmentChange.Held] {
    var result: [AssignmentChange.Held] = []
    for cursor in cursors where result.last?.number != cursor.slot {
      result.append(.init(number: cursor.slot, generation: cursor.generation, isRevoking: cursor.isRevoking))
    }
    return result
  }

  private mutating func add(_ slot: Assignment.Slot, _ positions: [Int64]) {
    guard layout.slots.indices.contains(slot.number) else { return }
    for (partition, position) in zip(layout.slots[slot.number], positions) {
      cursors.append(
        Cursor(
          id: partition.id, name: partition.name, slot: slot.number, generation: slot.generation, position: position))
    }
  }

  private mutating func tell(_ slots: [Int], _ event: ([TopicPartition]) -> ConsumerEvent) {
    let names = cursors.filter { slots.contains($0.slot) && !$0.isReleased }.map(\.name)
    if !names.isEmpty { events.append(event(names)) }
  }

  private mutating func loseEverything() {
    let names = cursors.filter { !$0.isReleased }.map(\.name)
    if !names.isEmpty { events.append(.lost(names)) }
    cursors = []
    indexOfID = [:]
    awaited = []
  }

  /// The group had forgotten this member, and it is a new one now.
  mutating func enrolled(_ member: BrokerStore.Member, _ layout: BrokerStore.Layout) {
    loseEverything()
    self.member = member
    self.layout = layout
    released = []
    isSynchronized = false
  }

  private mutating func reindex() {
    cursors.sort { ($0.slot, $0.name.topic) < ($1.slot, $1.name.topic) }
    indexOfID = [:]
    for (index, cursor) in cursors.enumerated() { indexOfID[cursor.id] = index }
  }

  // MARK: What the owner asks for

  func checkOpen() throws(BrokerError) {
    if isClosed { throw BrokerError(.closed, "the consumer is closed") }
  }

  /// The progress with the store's ids; refused if a partition is not this member's any more.
  func checked(_ progress: [Settlement.Progress]) throws(BrokerError) -> [BrokerStore.Progress] {
    try checkOpen()
    if isReplaced { throw BrokerError(.fenced, "another member took this one's name") }
    var result: [BrokerStore.Progress] = []
    result.reserveCapacity(progress.count)
    for step in progress {
      guard let cursor = cursor(step.topicPartition), cursor.generation == step.generation, !cursor.isReleased else {
        throw BrokerError(
          .fenced, "\(step.topicPartition) no longer belongs to this member under generation \(step.generation)")
      }
      result.append(
        BrokerStore.Progress(
          partition: cursor.id, name: cursor.name, slot: cursor.slot, generation: cursor.generation, next: step.next))
    }
    return result
  }

  private func cursor(_ name: TopicPartition) -> Cursor? { cursors.first { $0.name == name } }

  func checkHas(_ name: TopicPartition) throws(BrokerError) {
    try checkOpen()
    guard cursor(name) != nil else { throw BrokerError(.fenced, "\(name) does not belong to this member") }
  }

  mutating func setPaused(_ isPaused: Bool, _ names: [TopicPartition]) throws(BrokerError) {
    try checkOpen()
    for index in cursors.indices where names.contains(cursors[index].name) { cursors[index].isPaused = isPaused }
  }

  mutating func seek(_ name: TopicPartition, to offset: Int64) {
    for index in cursors.indices where cursors[index].name == name {
      cursors[index].position = offset
      cursors[index].seeks += 1
      cursors[index].mayHaveMore = true
    }
  }

  /// Gives partitions up; returns the slots of which nothing is left.
  mutating func release(_ names: [TopicPartition]) -> [(number: Int, generation: Int64)] {
    for index in cursors.indices where names.contains(cursors[index].name) { cursors[index].isReleased = true }
    let free = held.filter { slot in cursors.allSatisfy { $0.slot != slot.number || $0.isReleased } }
    cursors.removeAll { cursor in free.contains { $0.number == cursor.slot } }
    reindex()
    let slots = free.map { ($0.number, $0.generation) }
    released += slots
    return slots
  }

  /// Ends it; nil if it had ended before.
  mutating func close() -> BrokerStore.Member? {
    guard !isClosed else { return nil }
    isClosed = true
    events = []
    cursors = []
    indexOfID = [:]
    return member
  }

  // MARK: News

  /// There are new records; false if this member does not have the partition.
  mutating func noteRecords(in partition: Int64) -> Bool {
    guard let index = indexOfID[partition] else { return false }
    cursors[index].mayHaveMore = true
    cursors[index].notes += 1
    return true
  }

  mutating func lookAtEverything() {
    isSynchronized = false
    for index in cursors.indices {
      cursors[index].mayHaveMore = true
      cursors[index].notes += 1
    }
  }
}

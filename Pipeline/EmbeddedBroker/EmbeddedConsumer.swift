import Pipeline
import Synchronization

/// A member of a group in an embedded broker.
///
/// What it has in hand and where it reads on is a value, `ConsumerState`; this class asks the store, waits, and tells
/// the state what came of it.
final class EmbeddedConsumer: Consumer, Sleeper {
  private let broker: EmbeddedBroker
  private let membership: Membership
  private let state: Mutex<ConsumerState>
  private let signal = Signal()
  private let idle: Duration
  private let registration: (group: Int64, partitions: [Int64])

  init(
    _ broker: EmbeddedBroker, _ membership: Membership, _ member: BrokerStore.Member, _ layout: BrokerStore.Layout,
    idle: Duration
  ) {
    self.broker = broker
    self.membership = membership
    self.idle = idle
    state = Mutex(ConsumerState(member: member, layout: layout))
    registration = (member.group, layout.slots.flatMap { $0.map(\.id) })
    broker.queue.wakes.add(self, group: registration.group, partitions: registration.partitions)
  }

  // MARK: Next

  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent {
    while true {
      if Task.isCancelled { throw BrokerError(.cancelled, "the task was cancelled while waiting for records") }
      let now = broker.clock.now
      switch state.withLock({ $0.plan(at: now, idle: idle) }) {
      case .closed: throw BrokerError(.closed, "the consumer is closed")
      case .replaced: throw replaced
      case .event(let event): return event
      case .synchronize(let awaited): try await synchronize(awaited)
      case .fetch(let plan):
        let (member, loads) = (plan.member, membership.loadsValues)
        let fetched = try await broker.read { store throws(BrokerError) in
          try store.fetch(member, epoch: plan.epoch, plan.wants, limit: max(1, limit), loadsValues: loads)
        }
        let records = state.withLock { $0.took(fetched, plan) }
        if !records.isEmpty { return .records(records) }
      case .wait(let deadline): await wait(until: deadline)
      }
    }
  }

  private var replaced: BrokerError {
    BrokerError(
      .fenced, "another member joined group \(membership.group) as \(membership.instance)",
      hint: "give each process a name of its own")
  }

  /// Asks the store who has what, and takes what was waited for long enough.
  private func synchronize(_ awaited: [Assignment.Awaited]) async throws(BrokerError) {
    let (member, layout) = state.withLock { state in
      state.beginSynchronizing()
      return (state.member, state.layout)
    }
    let instance = membership.instance
    if !awaited.isEmpty {
      try await broker.commit { store throws(BrokerError) in try store.take(member, awaited) }
    }
    let assignment: Assignment
    do {
      assignment = try await broker.read { store throws(BrokerError) in
        try store.assignment(member, instance: instance, layout)
      }
    } catch {
      state.withLock { $0.mustSynchronize() }
      throw error
    }
    switch assignment.standing {
    case .member, .replaced:
      let now = broker.clock.now
      state.withLock { $0.apply(assignment, at: now) }
    case .forgotten:
      let (member, layout) = try await broker.enroll(membership)
      state.withLock { $0.enrolled(member, layout) }
    }
  }

  private func wait(until deadline: Timestamp) async {
    let isTimeUp = await broker.clock.sleep(until: deadline, or: signal)
    guard isTimeUp else { return }
    await broker.queue.maintain()
    state.withLock { $0.lookAtEverything() }
  }

  // MARK: Settling

  func settle(_ settlement: Settlement) async throws(BrokerError) {
    guard !settlement.outputs.isEmpty || !settlement.progress.isEmpty else { return }
    let outputs = try await broker.loaded(settlement.outputs)
    let (member, progress) = try state.withLock { state throws(BrokerError) in
      (state.member, try state.checked(settlement.progress))
    }
    try await broker.commit { store throws(BrokerError) in try store.settle(member, progress, outputs) }
  }

  // MARK: Steering

  func pause(_ partitions: [TopicPartition]) async throws(BrokerError) { try setPaused(true, partitions) }

  func resume(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try setPaused(false, partitions)
    signal.raise()
  }

  private func setPaused(_ isPaused: Bool, _ partitions: [TopicPartition]) throws(BrokerError) {
    try state.withLock { state throws(BrokerError) in try state.setPaused(isPaused, partitions) }
  }

  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError) {
    try state.withLock { state throws(BrokerError) in try state.checkHas(partition) }
    try await broker.read { store throws(BrokerError) in
      try store.checkRange(try store.partition(partition), offset)
    }
    state.withLock { $0.seek(partition, to: offset) }
    signal.raise()
  }

  func release(_ partitions: [TopicPartition]) async throws(BrokerError) {
    let (member, slots) = try state.withLock { state throws(BrokerError) in
      try state.checkOpen()
      return (state.member, state.release(partitions))
    }
    guard !slots.isEmpty else { return }
    let released = slots.map { ($0.number, $0.generation) }
    try await broker.commit { store throws(BrokerError) in try store.release(member, released) }
  }

  func close() async {
    guard let member = state.withLock({ $0.close() }) else { return }
    broker.queue.wakes.remove(self, group: registration.group, partitions: registration.partitions)
    signal.raise()
    broker.forget(self)
    // If it cannot be told, the others find out when this process is silent, or a new member takes the name.
    _ = try? await broker.queue.commit { store throws(BrokerError) in try store.leave(member) }
  }

  // MARK: Waking

  func wake(partition: Int64) {
    if state.withLock({ $0.noteRecords(in: partition) }) { signal.raise() }
  }

  func wakeForAssignment() {
    state.withLock { $0.mustSynchronize() }
    signal.raise()
  }

  func wakeForAnything() {
    state.withLock { $0.lookAtEverything() }
    signal.raise()
  }
}

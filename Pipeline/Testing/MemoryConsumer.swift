import Pipeline
import Synchronization

/// A member of a group of a `MemoryBroker`.
final class MemoryConsumer: Consumer {
  private struct Assignment {
    let generation: Int64
    var position: Int64
    var isPaused = false
    var isRevoking = false
  }
  private struct State {
    var assigned: [TopicPartition: Assignment] = [:]
    var next = 0
    var isClosed = false
  }

  let broker: MemoryBroker
  let membership: Membership
  let id: Int
  let wake = Signal()
  private let state = Mutex(State())

  init(_ broker: MemoryBroker, _ membership: Membership, id: Int) {
    self.broker = broker
    self.membership = membership
    self.id = id
  }

  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent {
    while true {
      if Task.isCancelled { throw BrokerError(.cancelled, "the task was cancelled") }
      if state.withLock({ $0.isClosed }) { throw BrokerError(.closed, "the consumer was closed") }
      if let event = try assignmentChange() ?? fetched(limit) { return event }
      await wake.wait()
    }
  }

  private func assignmentChange() throws(BrokerError) -> ConsumerEvent? {
    let result = broker.state.withLock { shared -> Result<ConsumerEvent?, BrokerError> in
      guard let group = shared.groups[membership.group], group.members.contains(where: { $0.id == id }) else {
        return .failure(BrokerError(.fenced, "another member has joined as \(membership.instance)"))
      }
      return state.withLock { state in
        var assigned: [TopicPartition] = []
        var revoking: [TopicPartition] = []
        var lost: [TopicPartition] = []
        for (key, owner) in group.owners {
          if owner.member == id, state.assigned[key]?.generation != owner.generation {
            let start = group.committed[key] ?? shared.topics[key.topic]?[key.partition].first?.offset ?? 0
            state.assigned[key] = Assignment(generation: owner.generation, position: start)
            assigned.append(key)
          }
          if owner.member == id, owner.target != id, state.assigned[key]?.isRevoking == false {
            state.assigned[key]?.isRevoking = true
            revoking.append(key)
          }
          if owner.member != id, state.assigned[key] != nil {
            state.assigned[key] = nil
            lost.append(key)
          }
        }
        if !lost.isEmpty { return .success(.lost(lost.sorted())) }
        if !revoking.isEmpty { return .success(.revoking(revoking.sorted())) }
        return .success(assigned.isEmpty ? nil : .assigned(assigned.sorted()))
      }
    }
    return try result.get()
  }

  private func fetched(_ limit: Int) -> ConsumerEvent? {
    broker.state.withLock { shared in
      state.withLock { state in
        let keys = state.assigned.keys.sorted()
        var records: [Record] = []
        for step in keys.indices where records.count < limit {
          let key = keys[(state.next + step) % keys.count]
          guard let assignment = state.assigned[key], !assignment.isPaused, !assignment.isRevoking,
            let stored = shared.topics[key.topic]?[key.partition]
          else { continue }
          let found = stored.filter { $0.offset >= assignment.position }.prefix(limit - records.count)
          guard let last = found.last else { continue }
          state.assigned[key]?.position = last.offset + 1
          records += MemoryBatch.records(Array(found), key, generation: assignment.generation)
        }
        state.next += 1
        return records.isEmpty ? nil : .records(records)
      }
    }
  }

  func settle(_ settlement: Settlement) async throws(BrokerError) {
    let values = try await broker.loaded(settlement.outputs)
    let (result, consumers) = broker.state.withLock { shared -> (Result<Void, BrokerError>, [MemoryConsumer]) in
      if let failure = shared.failure { return (.failure(failure), []) }
      guard var group = shared.groups[membership.group] else {
        return (.failure(BrokerError(.fenced, "no group \(membership.group)")), [])
      }
      for progress in settlement.progress {
        guard let owner = group.owners[progress.topicPartition], owner.member == id,
          owner.generation == progress.generation
        else { return (.failure(BrokerError(.fenced, "\(progress.topicPartition) belongs to another member")), []) }
      }
      if case .failure(let error) = broker.append(settlement.outputs, values, &shared) { return (.failure(error), []) }
      for progress in settlement.progress { group.committed[progress.topicPartition] = progress.next }
      shared.groups[membership.group] = group
      return (.success(()), Array(shared.consumers.values).sorted { $0.id < $1.id })
    }
    consumers.forEach { $0.wake.raise() }
    try result.get()
  }

  func pause(_ partitions: [TopicPartition]) async throws(BrokerError) {
    state.withLock { state in
      for key in partitions { state.assigned[key]?.isPaused = true }
    }
  }

  func resume(_ partitions: [TopicPartition]) async throws(BrokerError) {
    state.withLock { state in
      for key in partitions { state.assigned[key]?.isPaused = false }
    }
    wake.raise()
  }

  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError) {
    let end = broker.state.withLock { $0.ends[partition, default: 0] }
    guard offset >= 0, offset <= end else { throw BrokerError(.outOfRange, "\(partition) ends at \(end)") }
    state.withLock { $0.assigned[partition]?.position = offset }
    wake.raise()
  }

  func release(_ partitions: [TopicPartition]) async throws(BrokerError) {
    let consumers = broker.state.withLock { shared -> [MemoryConsumer] in
      for key in partitions {
        guard var owner = shared.groups[membership.group]?.owners[key], owner.member == id else { continue }
        owner.member = owner.target
        owner.generation += 1
        owner.takenAt = nil
        shared.groups[membership.group]?.owners[key] = owner
      }
      return Array(shared.consumers.values).sorted { $0.id < $1.id }
    }
    state.withLock { state in
      for key in partitions { state.assigned[key] = nil }
    }
    consumers.forEach { $0.wake.raise() }
  }

  func close() async {
    let wasOpen = state.withLock { state in
      defer { state.isClosed = true }
      return !state.isClosed
    }
    if wasOpen { broker.leave(self) }
    wake.raise()
  }
}

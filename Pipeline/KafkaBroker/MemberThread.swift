import Pipeline
import RdKafka

/// The one thread that consumes, seeks and answers rebalances for a member of a group.
///
/// Each partition has a queue of its own, so what is not asked for stays in librdkafka, and a pause drops nothing that
/// was fetched ahead.
final class MemberThread {
  private let membership: Membership
  private let options: KafkaBroker.Options
  private let state: Monitor<MemberState>
  private let client: ConsumerClient
  private let isIncremental: Bool
  private var queues: [TopicPartition: PartitionQueue] = [:]
  /// An assignment whose offsets could not be had yet.
  private var pending: [PartitionOffset]?

  /// Joins the group.
  init(_ membership: Membership, _ options: KafkaBroker.Options, _ state: Monitor<MemberState>) throws(KafkaError) {
    self.membership = membership
    self.options = options
    self.state = state
    isIncremental = options.assignor == .cooperative
    client = try ConsumerClient(options.member(membership)) { state.broadcast { $0.isRung = true } }
    try client.subscribe(isIncremental ? Array(membership.topics.prefix(1)) : membership.topics)
  }

  /// Works until the member is closed and has left.
  func run() {
    while true {
      let now = monotonicNanoseconds()
      let tick = now + (pending == nil ? 500_000_000 : 50_000_000)
      let mayLeave = state.wait { state -> Monitor<MemberState>.Waiting<Bool> in
        let until = min(tick, state.revocation?.deadline ?? tick)
        guard state.isRung || monotonicNanoseconds() >= until else { return .until(until) }
        state.isRung = false
        return .result(state.mayLeave)
      }
      poll()
      assignPending()
      finishRevocation()
      if mayLeave { break }
      seek()
      serve()
    }
    serve()
    for seek in state.withLock({ $0.takeSeeks() }) {
      seek.answer.resume(returning: .failure(BrokerError(.closed, "the consumer is closed")))
    }
    leave()
  }

  // MARK: Rebalances

  private func poll() {
    while let event = client.poll() {
      switch event {
      case .assign(let partitions):
        // librdkafka has taken something else for the answer to a revocation (see `move`): what it named goes with
        // this, since others may get it as soon as the assignment is answered.
        if let revocation = state.withLock({ $0.dropRevocation() }) { unassign(revocation.partitions) }
        pending = partitions
      case .revoke(let partitions, let isLost): revoke(partitions, isLost: isLost)
      case .failed(let error):
        let name = "\(membership.instance) of group \(membership.group)"
        let failure =
          error.kind == .fenced
          ? BrokerError(
            .fenced, "another member joined as \(name)", hint: "give each process a name of its own")
          : BrokerError(.other, "\(name) has ended: \(error)")
        state.withLock { $0.fail(failure) }
      }
    }
  }

  /// The partitions of all topics that go along with these.
  private func whole(_ partitions: [PartitionOffset]) -> [TopicPartition] {
    guard isIncremental else { return partitions.map { TopicPartition($0.topic, $0.partition) } }
    return partitions.flatMap { place in membership.topics.map { TopicPartition($0, place.partition) } }
  }

  private func places(_ names: [TopicPartition]) -> [PartitionOffset] {
    names.map { PartitionOffset(topic: $0.topic, partition: $0.partition) }
  }

  private func assignPending() {
    guard let partitions = pending else { return }
    let names = whole(partitions)
    do throws(KafkaError) {
      var places: [PartitionOffset] = []
      if !names.isEmpty {
        places = try client.committed(self.places(names), milliseconds: options.patienceMilliseconds)
        for index in places.indices where places[index].offset < 0 { places[index].offset = PartitionOffset.beginning }
      }
      for name in names {
        // One that is left of an attempt before would end the new one's watch when it goes.
        queues[name] = nil
        queues[name] = client.queue(topic: name.topic, partition: name.partition)
      }
      try client.assign(places, incrementally: isIncremental)
    } catch {
      if error.isFatal { pending = nil }
      return
    }
    pending = nil
    // What the group knows us as while this assignment lasts: records of it are settled under no later one.
    let membership = client.membership()
    state.withLock { $0.assigned(names, membership) }
  }

  private func revoke(_ partitions: [PartitionOffset], isLost: Bool) {
    pending = nil
    let names = whole(partitions)
    if isLost {
      state.withLock { state in
        state.lose(names)
        state.refresh(nil)
      }
      unassign(names)
      return
    }
    let membership = client.membership()
    let deadline = monotonicNanoseconds() + self.membership.revokeDeadline.microseconds * 1000
    state.withLock { state in
      state.refresh(membership)
      state.beginRevoking(names, deadline: deadline)
    }
  }

  private func finishRevocation() {
    let now = monotonicNanoseconds()
    if let revocation = state.withLock({ $0.takeRevocation(at: now) }) { unassign(revocation.partitions) }
  }

  private func unassign(_ names: [TopicPartition]) {
    for name in names { queues[name] = nil }
    do { try client.unassign(places(names), incrementally: isIncremental) } catch {
      state.withLock { $0.report(BrokerError(error, "partitions could not be given up")) }
    }
  }

  // MARK: Records

  private func serve() {
    guard case .take(let limit) = answer(state.withLock({ $0.serve() })) else { return }
    let records = take(limit)
    _ = answer(state.withLock { $0.took(records) })
  }

  private func answer(_ turn: MemberState.Turn) -> MemberState.Turn {
    if case .answer(let answer, let result) = turn { answer.resume(returning: result) }
    return turn
  }

  /// An equal share of each partition first, then what is left of any.
  ///
  /// A batch for each partition: a record that is held for long keeps what was fetched of its own partition, and not of
  /// all others.
  private func take(_ limit: Int) -> [Record] {
    let partitions = state.withLock { $0.readable() }
    guard !partitions.isEmpty else { return [] }
    var batches = [MessageBatch?](repeating: nil, count: partitions.count)
    let share = (limit + partitions.count - 1) / partitions.count
    var left = limit
    var mayHaveMore = Array(partitions.indices)
    for quota in [share, limit] where left > 0 {
      mayHaveMore = mayHaveMore.filter { index in
        guard left > 0, let queue = queues[partitions[index].name] else { return false }
        let (wanted, before) = (min(quota, left), batches[index]?.count ?? 0)
        let found = queue.take(wanted, into: &batches[index])
        let taken = (batches[index]?.count ?? 0) - before
        left -= taken
        if case .failed(let error) = found {
          reportFailure(of: partitions[index].name, error)
          return false
        }
        return taken == wanted
      }
    }
    var records: [Record] = []
    records.reserveCapacity(limit - left)
    for (partition, messages) in zip(partitions, batches) {
      guard let messages, messages.count > 0 else { continue }
      let batch = KafkaBatch(messages)
      for index in 0..<messages.count {
        records.append(batch.record(index, of: partition.name, generation: partition.generation))
      }
    }
    return records
  }

  /// What does not pass by itself is told to the caller.
  private func reportFailure(of name: TopicPartition, _ error: KafkaError) {
    switch error.kind {
    case .outOfRange, .unknownTopic, .notPermitted: break
    default: guard error.isDamage else { return }
    }
    state.withLock { $0.report(BrokerError(reading: name, error)) }
  }

  private func seek() {
    for seek in state.withLock({ $0.takeSeeks() }) {
      let name = seek.place.topicPartition
      var result: Result<Void, BrokerError> = .success(())
      do throws(KafkaError) {
        try move(PartitionOffset(topic: name.topic, partition: name.partition, offset: seek.place.offset))
      } catch { result = .failure(BrokerError(error, "seek to \(seek.place)")) }
      seek.answer.resume(returning: result)
    }
  }

  /// A seek; where librdkafka has given the partition's fetching up, because its offset was out of range, the partition
  /// is assigned anew. (Without incremental assignments that would take all others along: the member has to join again.)
  private func move(_ place: PartitionOffset) throws(KafkaError) {
    defer { queues[TopicPartition(place.topic, place.partition)]?.goOn() }
    do throws(KafkaError) { try client.seek(place, milliseconds: options.patienceMilliseconds) } catch {
      guard error.kind == .notFetching, isIncremental, pending == nil, !state.withLock({ $0.revocation != nil }) else {
        throw error
      }
      try client.unassign([place], incrementally: true)
      try client.assign([place], incrementally: true)
    }
  }

  // MARK: Leaving

  /// Leaves at once: a static member that is only closed would be waited for until its session ends.
  private func leave() {
    // Before librdkafka 2.4 a client that is closed while an assignment waits for its answer never ends.
    if pending != nil { try? client.assign([], incrementally: isIncremental) }
    client.unsubscribe()
    let deadline = Deadline(.seconds(5))
    while true {
      // What came before it has left is answered too: without, it could not be closed.
      let hasLeft = client.membership() == nil || deadline.isOver
      while let event = client.poll() {
        switch event {
        case .assign: try? client.assign([], incrementally: isIncremental)
        case .revoke(let partitions, _): unassign(whole(partitions))
        case .failed: return end()
        }
      }
      if hasLeft { return end() }
      let until = monotonicNanoseconds() + 5_000_000
      state.wait { state -> Monitor<MemberState>.Waiting<Void> in
        defer { state.isRung = false }
        return state.isRung || monotonicNanoseconds() >= until ? .result(()) : .until(until)
      }
    }
  }

  private func end() {
    queues = [:]
    client.close()
  }
}

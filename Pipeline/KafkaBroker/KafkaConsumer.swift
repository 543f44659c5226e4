import Pipeline
import RdKafka

/// A member of a group on Kafka: one thread consumes, another settles.
final class KafkaConsumer: Consumer {
  private enum Work: Sendable {
    case prepare(Answer<Void>)
    case settle(Settler.Job)
  }

  let membership: Membership
  private let broker: KafkaBroker
  private let state = Monitor(MemberState())
  private let settling: Lane<Work>
  private let hasLeft = Gate()

  init(_ broker: KafkaBroker, _ membership: Membership) {
    self.broker = broker
    self.membership = membership
    let (state, options) = (state, broker.options)
    let id = "mailflow.\(membership.group).\(membership.instance)"
    settling = Lane {
      let hop: any Hop = options.guarantee == .exactlyOnce ? Rotation(options, id: id) : Forwarding(options)
      let settler = Settler(hop, state, patience: options.patience)
      return { items in
        var jobs: [Settler.Job] = []
        for item in items {
          switch item {
          case .prepare(let answer): answer.resume(returning: settler.prepare())
          case .settle(let job): jobs.append(job)
          }
        }
        if !jobs.isEmpty { settler.settle(jobs) }
      }
    }
  }

  /// Takes the name over, then joins the group.
  func start() async throws(BrokerError) {
    let prepared: Result<Void, BrokerError> = await withCheckedContinuation { answer in
      if !settling.add(.prepare(answer)) { answer.resume(returning: .failure(.closed)) }
    }
    do { try prepared.get() } catch {
      settling.close()
      hasLeft.open()
      throw error
    }
    let (state, options, membership, hasLeft) = (state, broker.options, membership, hasLeft)
    let joined: Result<Void, BrokerError> = await withCheckedContinuation { answer in
      startThread {
        do throws(KafkaError) {
          let thread = try MemberThread(membership, options, state)
          answer.resume(returning: .success(()))
          thread.run()
        } catch {
          answer.resume(returning: .failure(BrokerError(error, "join \(membership.group)")))
        }
        hasLeft.open()
      }
    }
    do { try joined.get() } catch {
      settling.close()
      throw error
    }
  }

  // MARK: Consuming

  func next(limit: Int) async throws(BrokerError) -> ConsumerEvent {
    let state = state
    let id = state.withLock { $0.newWaiter() }
    let result: Result<ConsumerEvent, BrokerError> = await withTaskCancellationHandler {
      await withCheckedContinuation { answer in
        var now: BrokerError?
        state.broadcast { state in
          if state.isClosing {
            now = BrokerError(.closed, "the consumer is closed")
          } else if Task.isCancelled {
            now = .cancelledWait
          } else {
            state.wait(limit: limit, answer, id: id)
          }
        }
        if let now { answer.resume(returning: .failure(now)) }
      }
    } onCancel: {
      state.withLock { $0.cancel(id) }?.resume(returning: .failure(.cancelledWait))
    }
    return try result.get()
  }

  func pause(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try change { state throws(BrokerError) in try state.setPaused(true, partitions) }
  }

  func resume(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try change { state throws(BrokerError) in try state.setPaused(false, partitions) }
  }

  func release(_ partitions: [TopicPartition]) async throws(BrokerError) {
    try change { state throws(BrokerError) in try state.release(partitions) }
  }

  func seek(_ partition: TopicPartition, to offset: Int64) async throws(BrokerError) {
    try change { state throws(BrokerError) in try state.checkHas(partition) }
    for marks in try await broker.watermarks([partition]) where !(marks.first...marks.end).contains(offset) {
      throw BrokerError(.outOfRange, "\(partition) has offsets \(marks.first) to \(marks.end), not \(offset)")
    }
    let result: Result<Void, BrokerError> = await withCheckedContinuation { answer in
      var isClosed = false
      state.broadcast { state in
        isClosed = state.isClosing
        if !isClosed { state.add(.init(place: RecordPosition(partition, offset), answer: answer)) }
      }
      if isClosed { answer.resume(returning: .failure(BrokerError(.closed, "the consumer is closed"))) }
    }
    try result.get()
  }

  private func change(_ body: (inout MemberState) throws(BrokerError) -> Void) throws(BrokerError) {
    var result: Result<Void, BrokerError> = .success(())
    state.broadcast { state in
      do throws(BrokerError) { try body(&state) } catch { result = .failure(error) }
    }
    try result.get()
  }

  // MARK: Settling

  func settle(_ settlement: Settlement) async throws(BrokerError) {
    guard !settlement.outputs.isEmpty || !settlement.progress.isEmpty else { return }
    // Refused early, before work is done for it; the lane asks again.
    try change { state throws(BrokerError) in state.settled(try state.admit(settlement.progress)) }
    let records = try await broker.prepare(settlement.outputs)
    let result: Result<Void, BrokerError> = await withCheckedContinuation { answer in
      let job = Settler.Job(progress: settlement.progress, records: records, answer: answer)
      if !settling.add(.settle(job)) {
        answer.resume(returning: .failure(BrokerError(.closed, "the consumer is closed")))
      }
    }
    try result.get()
  }

  // MARK: Ending

  /// Ends the membership: `next` throws the error, and it has to be joined again.
  func fail(_ error: BrokerError) {
    state.broadcast { state in
      state.fail(error)
      state.isRung = true
    }
  }

  func close() async {
    var isFirst = false
    state.broadcast { isFirst = $0.close() }
    if isFirst {
      // What is being settled is finished first; the thread waits for that before it gives anything up.
      settling.close()
      broker.forget(self)
    }
    await settling.ended()
    await hasLeft.wait()
  }
}

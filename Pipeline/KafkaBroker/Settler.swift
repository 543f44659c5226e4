import Pipeline
import RdKafka

/// Settles for one member of a group: what waits at the same time shares a transaction. Used by one thread.
final class Settler {
  /// What to settle, its records ready.
  struct Job: Sendable {
    let progress: [Settlement.Progress]
    let records: [PreparedRecord]
    let answer: Answer<Void>
  }

  /// Records beyond which waiting settlements do not share a transaction.
  static let maximumRecords = 5000

  /// How far apart settlements of several records begin at least: until then more are done, and a transaction costs the
  /// same for all of them. A few records at a time do not wait.
  private static let pace = (records: 3, nanoseconds: Int64(20_000_000))

  private let hop: any Hop
  private let state: Monitor<MemberState>
  private let patience: Duration

  init(_ hop: any Hop, _ state: Monitor<MemberState>, patience: Duration) {
    self.hop = hop
    self.state = state
    self.patience = patience
  }

  /// Takes the member's name over: what its predecessor left open is ended.
  func prepare() -> Result<Void, BrokerError> {
    do {
      try hop.prepare()
      return .success(())
    } catch {
      switch error {
      case .refused(let reason), .unknown(let reason): return .failure(reason)
      case .fenced(let reason): return .failure(BrokerError(reason, "join"))
      case .staleGroup: return .failure(BrokerError(.other, "join: a transaction without a group has no generation"))
      }
    }
  }

  /// Settles all of these, in order.
  func settle(_ jobs: [Job]) {
    let began = monotonicNanoseconds()
    defer { if jobs.reduce(0, { $0 + $1.records.count }) >= Self.pace.records { rest(since: began) } }
    var group: [Job] = []
    var count = 0
    for job in jobs {
      if !group.isEmpty, count + job.records.count > Self.maximumRecords {
        settleTogether(group)
        group = []
        count = 0
      }
      group.append(job)
      count += job.records.count
    }
    settleTogether(group)
  }

  private func rest(since began: Int64) {
    let until = began + Self.pace.nanoseconds
    guard hop.costsTheSameForMore else { return }
    state.wait { state -> Monitor<MemberState>.Waiting<Void> in
      state.isClosing || monotonicNanoseconds() >= until ? .result(()) : .until(until)
    }
  }

  private func settleTogether(_ jobs: [Job]) {
    let deadline = Deadline(patience * 3)
    var jobs = jobs
    var isAppended = false
    while true {
      let admitted = admit(jobs)
      guard let first = admitted.first else { return }
      jobs = admitted.map(\.job)
      let result: Result<Void, BrokerError>
      do throws(HopFailure) {
        let offsets = try offsets(admitted, first.admission.membership)
        let records = jobs.count == 1 ? jobs[0].records : jobs.flatMap(\.records)
        try hop.carryOut(isAppended ? [] : records, offsets)
        result = .success(())
      } catch {
        switch error {
        case .staleGroup(let reason, let areAppended):
          isAppended = isAppended || areAppended
          finish(admitted)
          // Our partitions may be ours still, under a generation that we have not heard of yet, or when the others
          // have heard of this one.
          waitForMembership(after: first.admission.epoch)
          if !deadline.isOver { continue }
          let why = reason.map { ": \($0)" } ?? ""
          let error = BrokerError(.unavailable, "the group did not settle down\(why)")
          return jobs.forEach { $0.answer.resume(returning: .failure(error)) }
        case .refused(let reason):
          if jobs.count > 1 {
            finish(admitted)
            return jobs.forEach { settleTogether([$0]) }
          }
          result = .failure(reason)
        case .fenced(let reason):
          let error = BrokerError(reason, "somebody else settles under this member's name")
          state.broadcast {
            $0.fail(error)
            $0.isRung = true
          }
          result = .failure(error)
        case .unknown(let reason): result = .failure(reason)
        }
      }
      finish(admitted)
      return jobs.forEach { $0.answer.resume(returning: result) }
    }
  }

  /// What the group gets to know; nil if nothing.
  private func offsets(
    _ admitted: [Admitted], _ membership: GroupMembership?
  ) throws(HopFailure) -> GroupOffsets? {
    // A later settlement of the same partition goes further.
    var next: [TopicPartition: Int64] = [:]
    for step in admitted.flatMap(\.job.progress) { next[step.topicPartition] = step.next }
    if next.isEmpty { return nil }
    // Between two generations, and never without one.
    guard let membership else { throw .staleGroup(nil, isAppended: false) }
    return GroupOffsets(
      places: next.map { PartitionOffset(topic: $0.key.topic, partition: $0.key.partition, offset: $0.value) },
      membership: membership)
  }

  private typealias Admitted = (job: Job, admission: MemberState.Admission)

  private func admit(_ jobs: [Job]) -> [Admitted] {
    var refused: [(Job, BrokerError)] = []
    let admitted = state.withLock { state -> [Admitted] in
      var result: [Admitted] = []
      for job in jobs {
        do throws(BrokerError) { result.append((job, try state.admit(job.progress))) } catch {
          refused.append((job, error))
        }
      }
      return result
    }
    for (job, error) in refused { job.answer.resume(returning: .failure(error)) }
    return admitted
  }

  private func finish(_ admitted: [Admitted]) {
    state.broadcast { state in for one in admitted { state.settled(one.admission) } }
  }

  private func waitForMembership(after epoch: Int) {
    let until = Deadline(.milliseconds(30))
    state.wait { state -> Monitor<MemberState>.Waiting<Void> in
      state.epoch != epoch || until.isOver ? .result(()) : .until(until.nanoseconds)
    }
  }
}

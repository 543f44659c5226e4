// What a `StageMachine` holds in its hands: records, calls of the stage, and what came of them.

extension StageMachine {
  /// A record in hand.
  ///
  /// Safe to share: constant but for the variables, which are touched only under the runner's lock.
  final class Item: @unchecked Sendable {
    enum Progress {
      case waiting
      case active
      case done([OutgoingRecord])
      /// Its partition was lost: whatever comes of it is thrown away.
      case lost
    }
    let record: Record
    let message: Message
    let lane: Lane
    /// Less than the stage's own time-out, for a first try.
    let limit: Duration?
    let partition: TopicPartition
    let queuedAt: Timestamp
    /// When a record of a retry topic may be tried.
    let due: Timestamp?
    var progress = Progress.waiting
    /// When the work on it began, while it goes on.
    var started: Timestamp?
    /// With strict order: when it may be tried again, in place; how often it failed there, and what that cost.
    var again: Timestamp?
    var failures = 0
    var spent = Duration.zero

    init(record: Record, message: Message, lane: Lane, limit: Duration? = nil) {
      self.limit = limit
      self.record = record
      self.message = message
      self.lane = lane
      partition = record.topicPartition
      queuedAt = record.timestamp
      due = lane == .retry ? message.headers.int(HeaderName.due).map { Timestamp(milliseconds: Int64($0)) } : nil
    }

    var isDone: Bool { if case .done = progress { true } else { false } }
    var isLost: Bool { if case .lost = progress { true } else { false } }
  }

  /// Which of the stage's topics a record came from.
  enum Lane: Sendable { case work, slow, retry }

  /// One call of the stage: one message, or a batch.
  ///
  /// Safe to share: constant but for the variables, which are touched only under the runner's lock.
  final class Run: @unchecked Sendable {
    enum Cancellation { case timeout, overBudget, lost, drain }
    let id: Int
    let items: [Item]
    let started: Timestamp
    let deadline: Timestamp
    /// Whether it is counted against the slow budget instead of the concurrency.
    var isSlow: Bool
    var cancellation: Cancellation?
    /// The task that works on it, as long as it does.
    var task: UnsafeCurrentTask?

    init(id: Int, items: [Item], started: Timestamp, deadline: Timestamp, isSlow: Bool) {
      self.id = id
      self.items = items
      self.started = started
      self.deadline = deadline
      self.isSlow = isSlow
    }

    func cancel(_ reason: Cancellation) {
      guard cancellation == nil else { return }
      cancellation = reason
      task?.cancel()
    }
  }

  /// What came of one item of a run: the outcome with its records, or the error.
  struct Ending {
    let result: Result<Outcome, StageError>
    let outputs: [OutgoingRecord]
    /// The error of `result`: looked at for every message, and outcomes are large.
    let error: StageError?

    init(_ result: Result<Outcome, StageError>, outputs: [OutgoingRecord]) {
      self.result = result
      self.outputs = outputs
      if case .failure(let error) = result { self.error = error } else { error = nil }
    }

    var isDependencyDown: Bool { if case .dependencyDown? = error?.kind { true } else { false } }
  }

  /// What is to be settled, before it is made a `Settlement` outside the runner's lock.
  struct Prefix {
    var partitions: [(key: TopicPartition, items: [Item])] = []

    /// The items are in nobody else's hands any more, and what is done does not change.
    func settlement() -> Settlement {
      var settlement = Settlement()
      settlement.outputs.reserveCapacity(partitions.reduce(0) { $0 + $1.items.count })
      for (key, items) in partitions {
        guard let last = items.last else { continue }
        for item in items { if case .done(let outputs) = item.progress { settlement.outputs += outputs } }
        settlement.progress.append(
          Settlement.Progress(
            topicPartition: key, generation: last.record.generation, next: last.record.offset + 1,
            settled: items.map(\.record)))
      }
      return settlement
    }
  }
}

import Synchronization

/// Looks at records as they come in: this stage works on them, or they are passed on without work.
final class Reception: Sendable {
  /// What came of a batch.
  struct Received {
    /// With `done`, the records that pass it on: there is no work.
    var items: [(item: StageMachine.Item, done: [OutgoingRecord]?)] = []
    /// The first record of each partition that this build cannot read; what is behind it was not taken.
    var newer: [(record: Record, version: Int)] = []
  }

  private struct State {
    var suspects: Set<MessageID>
    /// Suspects that have had their short first try, or need none.
    var hasHadFirstTry: Set<MessageID> = []
  }
  /// The short first try of a suspect.
  private static let firstTry = Duration.milliseconds(500)

  private let disposer: Disposer
  private let mode: StageRunner.Mode
  private let timeout: Duration
  private let environment: StageRunner.Environment
  private let state: Mutex<State>

  init(_ disposer: Disposer, _ mode: StageRunner.Mode, timeout: Duration, _ environment: StageRunner.Environment) {
    self.disposer = disposer
    self.mode = mode
    self.timeout = timeout
    self.environment = environment
    var suspects: Set<MessageID> = []
    if case .normal(let set) = mode { suspects = set }
    state = Mutex(State(suspects: suspects))
  }

  func take(_ records: [Record], at now: Timestamp) -> Received {
    var received = Received()
    received.items.reserveCapacity(records.count)
    let hasSuspects = state.withLock { !$0.suspects.isEmpty }
    for record in records {
      if received.newer.contains(where: { $0.record.topicPartition == record.topicPartition }) { continue }
      do throws(MessageCodec.DecodingFailure) {
        received.items.append(item(record, try decode(record), at: now, hasSuspects: hasSuspects))
      } catch {
        switch error {
        case .newerVersion(let version): received.newer.append((record, version))
        case .malformed(let reason): received.items.append(malformed(record, reason, at: now))
        }
      }
    }
    return received
  }

  private func decode(_ record: Record) throws(MessageCodec.DecodingFailure) -> Message {
    try MessageCodec.decode(record, store: environment.contentStore)
  }

  private func malformed(
    _ record: Record, _ reason: String, at now: Timestamp
  ) -> (item: StageMachine.Item, done: [OutgoingRecord]?) {
    let placeholder = Message(
      id: MessageID(at: now, random: environment.random), key: record.key, content: Content(.record(record)),
      headers: Headers())
    let item = StageMachine.Item(record: record, message: placeholder, lane: .work)
    return (item, [disposer.malformed(record, reason: reason, at: now)])
  }

  private func item(
    _ record: Record, _ message: Message, at now: Timestamp, hasSuspects: Bool
  ) -> (item: StageMachine.Item, done: [OutgoingRecord]?) {
    let lane: StageMachine.Lane =
      switch record.topicPartition.topic {
      case disposer.topics.slow: .slow
      case disposer.topics.work, disposer.topics.suspect: .work
      default: .retry
      }
    let done = placed(message, record, at: now, hasSuspects: hasSuspects)
    let limit = done == nil ? firstTry(of: message) : nil
    return (StageMachine.Item(record: record, message: message, lane: lane, limit: limit), done)
  }

  /// How long a suspect's first try may take; nil for what is no suspect, or has had it.
  private func firstTry(of message: Message) -> Duration? {
    guard case .alone(let strikes, _) = mode, strikes[message.id, default: 0] == 0 else { return nil }
    let isFirst = state.withLock { $0.hasHadFirstTry.insert(message.id).inserted }
    return isFirst && Self.firstTry < timeout ? Self.firstTry : nil
  }

  /// The records of a message that this stage does not work on; nil: it does.
  private func placed(
    _ message: Message, _ record: Record, at now: Timestamp, hasSuspects: Bool
  ) -> [OutgoingRecord]? {
    let work = Disposer.Work(started: now, ended: now, queued: record.timestamp)
    switch disposer.router.place(message, at: disposer.name.stage) {
    case .move: return disposer.moved(message, at: now)
    case .needs(let missing):
      let text = "\(disposer.name.stage) needs \(missing), which the message has not passed"
      return disposer.outputs(of: .reject(reason: "needs.\(missing)", message: text), message, in: record, work)
    case .noFlow:
      let text = "flow \(message.flow) is not in the topology"
      return disposer.outputs(of: .reject(reason: "flow.unknown", message: text), message, in: record, work)
    case .process: break
    }
    switch mode {
    case .normal:
      guard hasSuspects, state.withLock({ $0.suspects.remove(message.id) }) != nil else { return nil }
      return disposer.aside(message, .suspect, to: disposer.topics.suspect, at: now)
    case .alone(let strikes, _):
      let count = strikes[message.id, default: 0]
      if count >= StageRunner.Strikes.dead {
        let text = "took its worker down twice, alone"
        return disposer.outputs(of: .reject(reason: "crash", message: text), message, in: record, work)
      }
      guard count == StageRunner.Strikes.hung, state.withLock({ $0.hasHadFirstTry.insert(message.id).inserted }) else {
        return nil
      }
      return disposer.aside(message, .suspect, to: disposer.topics.suspect, at: now)
    case .removed: return disposer.moved(message, at: now)
    }
  }
}

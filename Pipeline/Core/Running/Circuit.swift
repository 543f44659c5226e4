/// A stage's circuit: open while what the stage depends on is away, so that no message spends an attempt on it.
///
/// Closed → (a message found the dependency down) → open → (the interval is over) → probing one message → closed, or
/// open again for twice as long.
struct Circuit: Sendable {
  enum State: Sendable, Equatable {
    case closed
    case open(since: Timestamp, reason: String, probeAt: Timestamp)
    case probing(since: Timestamp, reason: String)
  }

  private(set) var state = State.closed
  private var interval = Duration.milliseconds(500)
  private static let longest = Duration.seconds(30)

  /// How many messages may be started now: nil is any number.
  func allowance(at now: Timestamp) -> Int? {
    switch state {
    case .closed: nil
    case .open(_, _, let probeAt): now >= probeAt ? 1 : 0
    case .probing: 0
    }
  }

  /// When it is worth asking again; nil if not by itself.
  var probeAt: Timestamp? { if case .open(_, _, let probeAt) = state { probeAt } else { nil } }

  /// A message was started.
  mutating func started() {
    if case .open(let since, let reason, _) = state { state = .probing(since: since, reason: reason) }
  }

  /// A message found the dependency down.
  mutating func failed(_ reason: String, at now: Timestamp) {
    switch state {
    case .closed:
      interval = .milliseconds(500)
      state = .open(since: now, reason: reason, probeAt: now + interval)
    case .probing(let since, _):
      interval = min(interval * 2, Self.longest)
      state = .open(since: since, reason: reason, probeAt: now + interval)
    case .open: break  // one that was on its way when it opened
    }
  }

  /// A message got through, or failed for a reason of its own.
  mutating func passed() {
    if case .probing = state { state = .closed }
  }

  /// The message that probed was taken away before it ended.
  mutating func abandoned(at now: Timestamp) {
    if case .probing(let since, let reason) = state { state = .open(since: since, reason: reason, probeAt: now) }
  }
}

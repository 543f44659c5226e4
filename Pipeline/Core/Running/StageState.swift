import Synchronization

/// How a stage is doing, for `/readyz` and the operator.
public enum StageState: Sendable, Hashable {
  /// Not a member of its group yet.
  case starting
  /// Works.
  case running
  /// Cannot consume or settle.
  case waiting(reason: String)
  /// What it depends on is away.
  case circuitOpen(reason: String)
  /// Its worker died and is coming back.
  case restarting(reason: String)

  /// The word that scripts rely on.
  public var word: String {
    switch self {
    case .starting, .restarting, .waiting: "restarting"
    case .running: "running"
    case .circuitOpen: "circuit-open"
    }
  }
  /// Why it does not run; empty if it does.
  public var reason: String {
    switch self {
    case .starting: "starting"
    case .running: ""
    case .waiting(let reason), .circuitOpen(let reason), .restarting(let reason): reason
    }
  }
}

/// Notes which messages are being worked on, so that whoever comes after a crash knows what was in hand.
///
/// Called for every message: an implementation has to be cheap, and to survive the death of the process, not of the
/// machine.
public protocol InHandJournal: Sendable {
  /// Work on a message of `group` begins, and must be over at `deadline`.
  func begin(_ group: String, _ id: MessageID, deadline: Timestamp) -> Int
  /// It is over.
  func end(_ ticket: Int)
}

/// Lets one task in at a time, in order of arrival.
public final class Gate: Sendable {
  private struct State {
    var isTaken = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())

  /// An open gate.
  public init() {}

  /// Returns once nobody else is inside.
  public func enter() async {
    await withCheckedContinuation { continuation in
      let now = state.withLock { state in
        guard state.isTaken else {
          state.isTaken = true
          return true
        }
        state.waiting.append(continuation)
        return false
      }
      if now { continuation.resume() }
    }
  }

  /// Lets the next one in.
  public func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard !state.waiting.isEmpty else {
        state.isTaken = false
        return nil
      }
      return state.waiting.removeFirst()
    }
    next?.resume()
  }
}

public import Pipeline
import Synchronization

/// A clock that stands still until a test moves it.
public final class ManualClock: PipelineClock {
  private struct Sleeper {
    let deadline: Timestamp
    let id: Int
    let continuation: CheckedContinuation<Void, any Error>
  }
  private struct State {
    var now: Timestamp
    var sleepers: [Sleeper] = []
    var next = 0
    var cancelled: Set<Int> = []
  }
  private let state: Mutex<State>

  /// A clock that shows `start`.
  public init(_ start: Timestamp = Timestamp(milliseconds: 1_700_000_000_000)) { state = Mutex(State(now: start)) }

  /// What the clock shows.
  public var now: Timestamp { state.withLock { $0.now } }

  /// See `PipelineClock`.
  public func sleep(until deadline: Timestamp) async throws {
    try Task.checkCancellation()
    let id = state.withLock { state in
      state.next += 1
      return state.next
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Void, any Error>? in
          if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
          if deadline <= state.now { return .success(()) }
          state.sleepers.append(Sleeper(deadline: deadline, id: id, continuation: continuation))
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let sleeper = state.withLock { state -> Sleeper? in
        guard let index = state.sleepers.firstIndex(where: { $0.id == id }) else {
          state.cancelled.insert(id)
          return nil
        }
        return state.sleepers.remove(at: index)
      }
      sleeper?.continuation.resume(throwing: CancellationError())
    }
  }

  /// When the next sleeper wants to wake; nil: nobody sleeps.
  public var nextDeadline: Timestamp? { state.withLock { $0.sleepers.map(\.deadline).min() } }

  /// Moves the clock on, and wakes whoever is due, the earliest first.
  public func advance(by duration: Duration) { advance(to: now + duration) }

  /// Moves the clock to `time` and wakes whoever is due, the earliest first.
  public func advance(to time: Timestamp) {
    let due = state.withLock { state in
      state.now = max(state.now, time)
      let due = state.sleepers.filter { $0.deadline <= state.now }
      state.sleepers.removeAll { $0.deadline <= state.now }
      return due.sorted { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
    }
    for sleeper in due { sleeper.continuation.resume() }
  }

  /// Moves the clock to the next sleeper's deadline and wakes that one alone; false if nobody sleeps.
  public func advanceToNext() -> Bool {
    let sleeper = state.withLock { state -> Sleeper? in
      let earliest = state.sleepers.indices.min {
        (state.sleepers[$0].deadline, state.sleepers[$0].id) < (state.sleepers[$1].deadline, state.sleepers[$1].id)
      }
      guard let earliest else { return nil }
      let sleeper = state.sleepers.remove(at: earliest)
      state.now = max(state.now, sleeper.deadline)
      return sleeper
    }
    sleeper?.continuation.resume()
    return sleeper != nil
  }
}

import Glibc

/// The machine's time: the wall clock as it was at the start, plus the monotonic clock since, so that it never jumps.
///
/// Sleepers are woken by a thread of their own rather than by Swift's global pool: that has as many threads as cores,
/// and a stage that blocks them all must not stop the timers of the process.
public final class SystemClock: PipelineClock {
  private struct Sleeper {
    let deadline: Int64
    let id: Int
    let continuation: CheckedContinuation<Void, any Error>
  }
  private struct State {
    var sleepers: [Sleeper] = []  // a binary heap, the earliest deadline first
    var next = 0
    var cancelled: Set<Int> = []
    var isRunning = false
  }

  private let offset: Int64
  private let state = Monitor(State())

  /// The one clock of the process.
  public static let shared = SystemClock()

  private init() {
    var wall = timespec()
    clock_gettime(CLOCK_REALTIME, &wall)
    offset = Int64(wall.tv_sec) * 1_000_000_000 + Int64(wall.tv_nsec) - monotonicNanoseconds()
  }

  /// The present.
  public var now: Timestamp { Timestamp(microseconds: (monotonicNanoseconds() + offset) / 1000) }

  /// See `PipelineClock.sleep(until:)`.
  public func sleep(until deadline: Timestamp) async throws {
    try Task.checkCancellation()
    let (scaled, overflow) = deadline.microseconds.multipliedReportingOverflow(by: 1000)
    let nanoseconds = overflow ? Int64.max : scaled.subtractingReportingOverflow(offset).partialValue
    guard nanoseconds > monotonicNanoseconds() else { return }
    let id = state.withLock { state in
      state.next += 1
      return state.next
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        add(Sleeper(deadline: nanoseconds, id: id, continuation: continuation))
      }
    } onCancel: {
      cancel(id)
    }
  }

  private func add(_ sleeper: Sleeper) {
    var wasCancelled = false
    var start = false
    state.signal { state in
      if state.cancelled.remove(sleeper.id) != nil {
        wasCancelled = true
        return
      }
      state.sleepers.append(sleeper)
      Self.up(&state.sleepers)
      start = !state.isRunning
      state.isRunning = true
    }
    if wasCancelled { sleeper.continuation.resume(throwing: CancellationError()) }
    if start { startThread { self.wakeSleepers() } }
  }

  private func cancel(_ id: Int) {
    let sleeper = state.withLock { state -> Sleeper? in
      guard let index = state.sleepers.firstIndex(where: { $0.id == id }) else {
        state.cancelled.insert(id)  // before it was added, or after it was woken: forgotten when it is asked for
        if state.cancelled.count > 1024 { state.cancelled = state.cancelled.filter { $0 > state.next - 512 } }
        return nil
      }
      let sleeper = state.sleepers.remove(at: index)
      // A heap with one element taken out of the middle is sorted anew: cancellations are rare.
      state.sleepers.sort { $0.deadline < $1.deadline }
      return sleeper
    }
    sleeper?.continuation.resume(throwing: CancellationError())
  }

  private func wakeSleepers() {
    while true {
      let due = state.wait { state -> Monitor<State>.Waiting<[Sleeper]> in
        guard let first = state.sleepers.first else { return .signal }
        let now = monotonicNanoseconds()
        guard first.deadline <= now else { return .until(first.deadline) }
        var due: [Sleeper] = []
        while let first = state.sleepers.first, first.deadline <= now { due.append(Self.pop(&state.sleepers, first)) }
        return .result(due)
      }
      for sleeper in due { sleeper.continuation.resume() }
    }
  }

  private static func up(_ heap: inout [Sleeper]) {
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].deadline < heap[parent].deadline else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private static func pop(_ heap: inout [Sleeper], _ first: Sleeper) -> Sleeper {
    let last = heap.removeLast()
    guard !heap.isEmpty else { return first }
    heap[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if heap[child].deadline < heap[least].deadline { least = child }
      }
      guard least != parent else { return first }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}

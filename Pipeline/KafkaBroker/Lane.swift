import Pipeline

/// A thread that works off what is handed to it, in order, everything that waits at once.
///
/// Whatever blocks in librdkafka blocks here, and none of Swift's threads.
final class Lane<Item: Sendable>: Sendable {
  private struct State {
    var items: [Item] = []
    var isRung = false
    var isClosed = false
    var hasEnded = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Monitor(State())

  /// - Parameter start: called on the thread; makes what works on the items, which never leaves the thread.
  init(_ start: @escaping @Sendable () -> ([Item]) -> Void) {
    startThread { [state] in
      let work = start()
      Self.run(state) {
        work($0)
        return nil
      }
    }
  }

  /// - Parameter start: is given what has the work called with no items, from any thread, if there is something else to
  ///   look at. The work also says when it wants to be called even so.
  init(ringing start: @escaping @Sendable (_ ring: @escaping @Sendable () -> Void) -> ([Item]) -> Deadline?) {
    startThread { [state] in Self.run(state, start { state.signal { $0.isRung = true } }) }
  }

  deinit { close() }

  /// False if the lane is closed: then nothing will be done with the item.
  func add(_ item: Item) -> Bool {
    var isTaken = false
    state.signal { state in
      guard !state.isClosed else { return }
      state.items.append(item)
      isTaken = true
    }
    return isTaken
  }

  /// Refuses new items; what waits is worked off.
  func close() { state.signal { $0.isClosed = true } }

  /// Returns once everything is worked off and the thread is done.
  func ended() async {
    await withCheckedContinuation { continuation in
      let now = state.withLock { state -> Bool in
        if !state.hasEnded { state.waiters.append(continuation) }
        return state.hasEnded
      }
      if now { continuation.resume() }
    }
  }

  private static func run(_ state: Monitor<State>, _ work: ([Item]) -> Deadline?) {
    var next: Deadline?
    while true {
      let items = state.wait { state -> Monitor<State>.Waiting<[Item]?> in
        if state.items.isEmpty, !state.isRung, !state.isClosed {
          guard let next else { return .signal }
          if !next.isOver { return .until(next.nanoseconds) }
        }
        defer {
          state.items = []
          state.isRung = false
        }
        return .result(state.items.isEmpty && state.isClosed ? nil : state.items)
      }
      guard let items else { break }
      next = work(items)
    }
    let waiters = state.withLock { state in
      state.hasEnded = true
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }
}

/// How a caller waits for a lane, without throwing `any Error`.
typealias Answer<R: Sendable> = CheckedContinuation<Result<R, BrokerError>, Never>

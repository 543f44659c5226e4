import Synchronization

/// Wakes one waiting task; a raise that nobody waits for is kept for the next wait.
public final class Signal: Sendable {
  private struct State {
    var raised = false
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())

  /// Nothing raised yet.
  public init() {}

  /// Wakes the waiter, or the next one.
  public func raise() {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard let waiter = state.waiter else {
        state.raised = true
        return nil
      }
      state.waiter = nil
      return waiter
    }
    waiter?.resume()
  }

  /// Returns once it was raised since the last wait, or when the task is cancelled. One waiter at a time.
  public func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let now = state.withLock { state -> Bool in
          if state.raised || Task.isCancelled {
            state.raised = false
            return true
          }
          state.waiter = continuation
          return false
        }
        if now { continuation.resume() }
      }
    } onCancel: {
      raise()
    }
  }
}

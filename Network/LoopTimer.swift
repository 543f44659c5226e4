import Event

/// Calls a closure on the loop after a time. Made, started and cancelled on the loop's thread.
final class LoopTimer {
  private final class Handler: TimerHandler {
    let body: () -> Void
    init(_ body: @escaping () -> Void) {
      self.body = body
    }
    func timerFired() {
      body()
    }
  }
  private let timer: EventTimer

  init(_ loop: EventLoop, _ body: @escaping () -> Void) throws(NetworkError) {
    do throws(EventError) {
      timer = try EventTimer(loop.base, handler: Handler(body))
    } catch { throw .system(.loop, code: 0, text: error.reason) }
  }

  func start(after duration: Duration) {
    timer.start(milliseconds: duration.milliseconds)
  }

  /// Not now; until it is started again.
  func stop() {
    timer.stop()
  }

  /// For good; drops the closure.
  func cancel() {
    timer.cancel()
  }
}

extension EventLoop {
  /// Waits without holding up anybody. From any executor; throws `cancelled`.
  public func sleep(for duration: Duration) async throws(NetworkError) {
    let sleeper = Sleeper()
    let wokeByItself = await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        execute { sleeper.start(continuation, self, duration) }
      }
    } onCancel: {
      execute { sleeper.end(false) }
    }
    if !wokeByItself { throw .cancelled }
  }

  private final class Sleeper: @unchecked Sendable {
    // Safe to share: used by the loop's thread only.
    private var continuation: UnsafeContinuation<Bool, Never>?
    private var timer: LoopTimer?
    private var isOver = false

    func start(_ continuation: UnsafeContinuation<Bool, Never>, _ loop: EventLoop, _ duration: Duration) {
      guard !isOver else { return continuation.resume(returning: false) }
      self.continuation = continuation
      timer = try? LoopTimer(loop) { self.end(true) }
      if let timer { timer.start(after: duration) } else { end(true) }
    }

    func end(_ wokeByItself: Bool) {
      isOver = true
      timer?.cancel()
      timer = nil
      continuation?.resume(returning: wokeByItself)
      continuation = nil
    }
  }
}

/// The face of an event loop that a task prefers: `Task(executorPreference: loop.taskExecutor)`.
///
/// An object of its own beside the serial executor: a task that prefers it *and* runs on an actor whose executor is the
/// loop waits for a socket at the cost of one job, without a hop.
public final class LoopTaskExecutor: TaskExecutor {
  private let queue: JobQueue

  init(_ queue: JobQueue) {
    self.queue = queue
  }

  /// Runs the job on the loop's thread.
  public func enqueue(_ job: consuming ExecutorJob) {
    queue.push(UnownedJob(job))
  }
}

/// The actor that owns a connection while a session uses it, or that borrows the loop for a moment.
///
/// Its executor is the loop: what it calls runs on the loop's thread without a hop as long as it is nonisolated.
actor LoopIsland {
  nonisolated private let loop: EventLoop

  init(_ loop: EventLoop) {
    self.loop = loop
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  func run<Result: Sendable, Failure: Error>(
    _ body: @Sendable () async throws(Failure) -> Result
  ) async throws(Failure) -> Result {
    // Not only a check: without a statement of the actor's own the compiler (6.3.1) drops the hop to it, since it takes
    // every async callee to hop by itself, and `body`, which runs where its caller does, would start off the loop.
    loop.checkIsolated()
    return try await body()
  }
}

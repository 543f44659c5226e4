/// A task executor with threads of its own.
///
/// Stages run on one, so that a stage that blocks or spins takes at most these threads, and neither the runners nor the
/// gateways. The threads live as long as the process.
public final class ThreadPool: TaskExecutor, @unchecked Sendable {
  // Safe to share: `queue` is a monitor.
  private let queue = Monitor<Queue<UnownedJob>>(Queue())

  /// Starts `threads` threads, at least one.
  public init(threads: Int) {
    for _ in 0..<max(1, threads) { startThread { self.work() } }
  }

  /// Runs the job on one of the threads, after those that came before.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.signal { $0.push(job) }
  }

  private func work() {
    let executor = asUnownedTaskExecutor()
    while true {
      let job = queue.wait { queue -> Monitor<Queue<UnownedJob>>.Waiting<UnownedJob> in
        queue.pop().map { .result($0) } ?? .signal
      }
      job.runSynchronously(on: executor)
    }
  }
}

import Event
import Glibc
import Linux

/// A thread that waits for sockets and timers, and runs the code that uses them.
///
/// It is an executor: sessions are actors on it and tasks that prefer it, so handlers are plain async code. Whatever
/// runs here must not block and should not compute for long, for every socket of the loop waits for it: send work of
/// milliseconds to a thread pool. `Task {}` leaves the loop; `async let` and task groups stay.
public final class EventLoop: SerialExecutor, @unchecked Sendable {
  // Safe to share: `base`, `buffers` and `wakeWatch` are touched by the loop's thread only.
  /// For tasks: `Task(executorPreference: loop.taskExecutor)`.
  public let taskExecutor: LoopTaskExecutor
  let base: EventBase
  private let queue: JobQueue
  private var buffers: [UnsafeMutableRawPointer] = []

  /// Bytes of a read buffer; the longest line that can be read.
  static let bufferSize = 16384
  private static let keptBuffers = 64

  /// Starts a loop and its thread. Throws when descriptors, memory or threads are short.
  public init() throws(NetworkError) {
    do throws(Errno) {
      queue = try JobQueue()
    } catch { throw .system(.loop, code: error.code, text: error.text) }
    do throws(EventError) {
      base = try EventBase()
    } catch { throw .system(.loop, code: 0, text: error.reason) }
    taskExecutor = LoopTaskExecutor(queue)
    try startThread()
  }

  deinit {
    for buffer in buffers { buffer.deallocate() }
  }

  /// Ends the thread once no job waits. Call it when every session has ended: what still waits for the loop waits for
  /// ever.
  public func stop() {
    queue.stop()
  }

  /// Runs `body` soon on the loop's thread, outside any task. From any thread.
  public func execute(_ body: @escaping @Sendable () -> Void) {
    queue.push(body)
  }

  /// Runs async code on the loop: connections can be opened and used in it.
  public func run<Result: Sendable, Failure: Error>(
    _ body: @Sendable () async throws(Failure) -> Result
  ) async throws(Failure) -> Result {
    let island = LoopIsland(self)
    let outcome: Swift.Result<Result, Failure> = await withTaskExecutorPreference(taskExecutor) {
      do throws(Failure) {
        return .success(try await island.run(body))
      } catch { return .failure(error) }
    }
    return try outcome.get()
  }

  // MARK: Executor

  /// Runs the job on the loop's thread.
  public func enqueue(_ job: consuming ExecutorJob) {
    queue.push(UnownedJob(job))
  }

  /// The loop as the executor of an actor.
  public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  /// Whether the caller is on the loop's thread.
  public var isOnLoop: Bool { queue.isOnThread }

  /// Traps off the loop's thread: a connection must be used where it lives.
  public func checkIsolated() {
    precondition(queue.isOnThread, "a connection is used off its event loop")
  }

  /// Lets the runtime find out without a trap.
  public func isIsolatingCurrentContext() -> Bool? {
    queue.isOnThread
  }

  // MARK: For connections, on the loop

  /// The monotonic clock in milliseconds, coarse (4 ms).
  var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  /// The time `duration` from now; `Int64.max` without one.
  func deadline(after duration: Duration?) -> Int64 {
    guard let duration else { return .max }
    let (sum, overflow) = now.addingReportingOverflow(duration.milliseconds)
    return overflow ? .max : sum
  }

  func takeBuffer() -> UnsafeMutableRawPointer {
    buffers.popLast() ?? .allocate(byteCount: Self.bufferSize, alignment: 16)
  }

  func giveBuffer(_ buffer: UnsafeMutableRawPointer) {
    if buffers.count < Self.keptBuffers { buffers.append(buffer) } else { buffer.deallocate() }
  }

  // MARK: The thread

  private func startThread() throws(NetworkError) {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    var thread = pthread_t()
    let this = Unmanaged.passRetained(self)  // released by the thread when it ends
    // Signals are read from a descriptor; none may interrupt this thread.
    pthread_sigmask(SIG_SETMASK, &all, &before)
    let failure = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<EventLoop>.fromOpaque(context).takeRetainedValue().turn()
        return nil
      }, this.toOpaque())
    pthread_sigmask(SIG_SETMASK, &before, nil)
    guard failure == 0 else {
      this.release()
      throw .system(.loop, code: failure, text: Errno(code: failure).text)
    }
    pthread_detach(thread)
  }

  private func turn() {
    queue.adoptThread()
    let waker = Waker(queue.wakeUp)
    guard
      let watch = try? IOWatch(
        base, descriptor: queue.wakeUp.descriptor, for: .read, trigger: .level, handler: waker)
    else { preconditionFailure("the first watch of an event loop failed") }
    let serial = asUnownedSerialExecutor()
    let tasks = taskExecutor.asUnownedTaskExecutor()
    while true {
      let ranCalls = queue.takeRemote()
      if queue.hasLocalJobs {
        queue.runJobs { $0.runSynchronously(isolatedTo: serial, taskExecutor: tasks) }
      } else if queue.isStopping && !ranCalls {
        break
      }
      // What asked to stop has been heard, and wakes nobody again.
      base.runOnce(wait: !queue.hasLocalJobs && !queue.isStopping)
    }
    queue.leaveThread()
    watch.cancel()
    withExtendedLifetime(waker) {}
  }

  private final class Waker: IOHandler {
    private let wakeUp: WakeUp
    init(_ wakeUp: WakeUp) {
      self.wakeUp = wakeUp
    }
    func descriptorReady(_ readiness: Readiness) {
      wakeUp.clear()
    }
  }
}

extension Duration {
  /// Rounded down, and at most about 290 million years.
  var milliseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    guard !overflow else { return seconds < 0 ? .min : .max }
    let (sum, overflown) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
    return overflown ? product : sum
  }
}

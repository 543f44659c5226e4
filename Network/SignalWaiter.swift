import Event
import Glibc
import Linux

/// Waits for signals such as SIGTERM in async code.
///
/// The program blocks them first, before any thread starts: `SignalWaiter.block([SIGTERM, SIGINT])`.
public final class SignalWaiter: @unchecked Sendable {
  // Safe to share: everything mutable is touched by the loop's thread only.
  private let loop: EventLoop
  private let queue: SignalQueue
  private var watch: IOWatch?
  private var arrived: [Int32] = []
  private var waiter: Wait?
  private var isOver = false

  /// Blocks signals for the thread that calls and those that it starts later, so that they wait to be read here.
  public static func block(_ signals: [Int32]) {
    blockSignals(signals)
  }

  /// Begins to collect them. Throws when descriptors are short.
  public init(_ signals: [Int32], on loop: EventLoop) throws(NetworkError) {
    self.loop = loop
    do throws(Errno) {
      queue = try SignalQueue(signals)
    } catch { throw .system(.loop, code: error.code, text: error.text) }
    loop.execute { self.start() }
  }

  /// The next signal, also one that came before the call; nil when the task is cancelled or after `close`. One waiter
  /// at a time.
  public func next() async -> Int32? {
    let wait = Wait()
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        loop.execute {
          self.waiter?.end(nil)
          wait.continuation = continuation
          self.waiter = wait
          if wait.isCancelled { wait.end(nil) }
          self.deliver()
        }
      }
    } onCancel: {
      loop.execute {
        wait.isCancelled = true
        wait.end(nil)
      }
    }
  }

  /// Stops and gives its descriptor back; `next` returns nil.
  public func close() {
    loop.execute {
      guard !self.isOver else { return }
      self.isOver = true
      self.watch?.cancel()
      self.watch = nil
      self.queue.close()
      self.deliver()
    }
  }

  private func start() {
    guard !isOver else { return }
    watch = try? IOWatch(
      loop.base, descriptor: queue.descriptor, for: .read, trigger: .level, handler: Events(self))
    collect()
  }

  private func collect() {
    while let signal = queue.next() {
      if arrived.count < 64 { arrived.append(signal) }  // else nobody takes them: more would say nothing new
    }
    deliver()
  }

  private func deliver() {
    guard let waiter, waiter.continuation != nil, isOver || !arrived.isEmpty else { return }
    self.waiter = nil
    waiter.end(isOver ? nil : arrived.removeFirst())
  }

  private final class Wait: @unchecked Sendable {
    // Safe to share: used by the loop's thread only.
    var continuation: UnsafeContinuation<Int32?, Never>?
    var isCancelled = false

    func end(_ signal: Int32?) {
      continuation?.resume(returning: signal)
      continuation = nil
    }
  }

  private final class Events: IOHandler {
    private let waiter: SignalWaiter
    init(_ waiter: SignalWaiter) {
      self.waiter = waiter
    }
    func descriptorReady(_ readiness: Readiness) {
      waiter.collect()
    }
  }
}

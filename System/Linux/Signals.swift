import CLinux
import Glibc

/// Signals as something to read: signalfd(2). Block them first, in every thread.
public struct SignalQueue: Sendable {
  /// Readable while a signal waits.
  public let descriptor: Int32

  /// Opens a queue of these signals. Throws when no descriptor is left.
  public init(_ signals: [Int32]) throws(Errno) {
    var set = signalSet(signals)
    descriptor = clinux_signalfd(&set)
    guard descriptor >= 0 else { throw .last }
  }

  /// The next signal that waits, or nil.
  public func next() -> Int32? {
    var info = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    guard read(descriptor, &info, size) == size else { return nil }
    return Int32(truncatingIfNeeded: info.ssi_signo)
  }

  /// Gives the descriptor back.
  public func close() {
    _ = Glibc.close(descriptor)
  }
}

/// Blocks signals in this thread and in the threads that it starts from now on: call it before the first one.
public func blockSignals(_ signals: [Int32]) {
  var set = signalSet(signals)
  pthread_sigmask(SIG_BLOCK, &set, nil)
}

/// Makes a write to a closed pipe or socket an error (EPIPE) instead of the process's end.
public func ignoreBrokenPipes() {
  signal(SIGPIPE, SIG_IGN)
}

/// Asks the kernel to send this process `signal` when the thread that started it ends, so that no child outlives a
/// killed parent. Survives exec. SIGKILL when nil. A parent that ended before the call is not noticed: compare `getppid()` afterwards.
public func dieWithParent(signal: Int32? = nil) throws(Errno) {
  guard clinux_die_with_parent(signal ?? SIGKILL) == 0 else { throw .last }
}

private func signalSet(_ signals: [Int32]) -> sigset_t {
  var set = sigset_t()
  sigemptyset(&set)
  for signal in signals { sigaddset(&set, signal) }
  return set
}

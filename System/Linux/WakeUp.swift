import CLinux
import Glibc

/// A counter that one thread raises and another waits for in its event loop: eventfd(2).
public struct WakeUp: Sendable {
  /// Readable while the counter is raised.
  public let descriptor: Int32

  /// Opens one. Throws when no descriptor is left.
  public init() throws(Errno) {
    descriptor = clinux_eventfd()
    guard descriptor >= 0 else { throw .last }
  }

  /// Makes the descriptor readable. From any thread.
  public func raise() {
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)  // fails only when it is raised already
  }

  /// Takes the counter back to zero.
  public func clear() {
    var count: UInt64 = 0
    _ = read(descriptor, &count, 8)
  }

  /// Gives the descriptor back. Nobody may raise it any more.
  public func close() {
    _ = Glibc.close(descriptor)
  }
}

import CLinux
import Glibc

/// A connection that a listening socket handed out; non-blocking and closed on exec. Whoever holds it closes it.
public struct AcceptedSocket: Sendable {
  /// The connection.
  public let descriptor: Int32
  /// The peer's `sockaddr`, as the kernel wrote it.
  public let address: [UInt8]

  /// Wraps a descriptor and the peer's `sockaddr`.
  public init(descriptor: Int32, address: [UInt8]) {
    self.descriptor = descriptor
    self.address = address
  }
}

/// Takes the next connection of a listening socket.
///
/// Throws what accept(2) says: EAGAIN when none waits, EMFILE and ENFILE when the process or the machine has no
/// descriptor left, ECONNABORTED when the peer gave up already.
public func acceptSocket(from listener: Int32) throws(Errno) -> AcceptedSocket {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let descriptor = withUnsafeMutablePointer(to: &storage) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { clinux_accept(listener, $0, &length) }
  }
  guard descriptor >= 0 else { throw .last }
  let address = withUnsafeBytes(of: &storage) { Array($0.prefix(Int(length))) }
  return AcceptedSocket(descriptor: descriptor, address: address)
}

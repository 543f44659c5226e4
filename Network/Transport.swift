import Glibc
import Linux

/// Moves bytes between memory and a socket without waiting.
///
/// The one place that knows how bytes reach the wire: TLS goes in here, between the socket and the connection.
struct Transport {
  enum Progress {
    case done(Int)
    case wantsRead
    case wantsWrite
    case end
    case failed(NetworkError)
  }

  /// -1 once it was closed.
  private(set) var descriptor: Int32

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
  }

  var isOpen: Bool { descriptor >= 0 }

  /// Whether a read may give something though the socket is not readable.
  var hasBuffered: Bool { false }

  func tryRead(_ start: UnsafeMutableRawPointer, _ count: Int) -> Progress {
    while true {
      let result = recv(descriptor, start, count, 0)
      if result > 0 { return .done(result) }
      if result == 0 { return .end }
      let failure = Errno.last
      switch failure.code {
      case EINTR: continue
      case EAGAIN: return .wantsRead
      default: return .failed(.system(.read, code: failure.code, text: failure.text))
      }
    }
  }

  func tryWrite(_ start: UnsafeRawPointer, _ count: Int) -> Progress {
    while true {
      let result = send(descriptor, start, count, Int32(MSG_NOSIGNAL))
      if result >= 0 { return .done(result) }
      let failure = Errno.last
      switch failure.code {
      case EINTR: continue
      case EAGAIN: return .wantsWrite
      default: return .failed(.system(.write, code: failure.code, text: failure.text))
      }
    }
  }

  /// Tells the peer that nothing more comes.
  func endWriting() {
    if isOpen { _ = shutdown(descriptor, Int32(SHUT_WR)) }
  }

  /// Throws away what waits to be read, about `limit` bytes at most. To close on it would make the kernel reset the
  /// connection, and the peer lose our last answer.
  func discardReceived(limit: Int) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      guard let start = buffer.baseAddress else { return }
      var left = limit
      while left > 0, case .done(let count) = tryRead(start, buffer.count) { left -= count }
    }
  }

  /// Why the connection attempt failed, or nil.
  func connectFailure() -> NetworkError? {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) == 0, code != 0 else { return nil }
    return .system(.connect, code: code, text: Errno(code: code).text)
  }

  mutating func close() {
    guard isOpen else { return }
    _ = Glibc.close(descriptor)
    descriptor = -1
  }
}

import Event
import Glibc
import Linux

extension Connection {
  /// Opens a connection to another machine. To be called on the loop, as within `loop.run`.
  ///
  /// Throws `timedOut(.connect)`, `cancelled`, and what the system says, as ECONNREFUSED.
  public static func connect(
    to address: SocketAddress, on loop: EventLoop, timeout: Duration = .seconds(30)
  ) async throws(NetworkError) -> Connection {
    loop.checkIsolated()
    if Task.isCancelled { throw .cancelled }
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = socket(address.family, type, 0)
    guard descriptor >= 0 else { throw .last(.connect) }
    let result = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    let code = result == 0 ? 0 : errno
    guard code == 0 || code == EINPROGRESS else {
      _ = Glibc.close(descriptor)
      throw .system(.connect, code: code, text: Errno(code: code).text)
    }
    let connection = try Connection(loop: loop, descriptor: descriptor, peer: address)
    do throws(NetworkError) {
      if code == EINPROGRESS {
        connection.isWritable = false
        connection.isReadable = false
        try await connection.wait(
          .writing, for: .write, until: loop.deadline(after: timeout), operation: .connect)
      }
      if let failure = connection.transport.connectFailure() { throw failure }
      connection.isReadable = true
    } catch {
      connection.close()
      throw error
    }
    return connection
  }
}

extension NetworkError {
  /// What the thread's last system call said.
  static func last(_ operation: Operation) -> NetworkError {
    let failure = Errno.last
    return .system(operation, code: failure.code, text: failure.text)
  }
}

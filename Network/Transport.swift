import Glibc
import Linux
import OpenSSL

/// Moves bytes between memory and a socket without waiting, in plain or by TLS.
///
/// The one place that knows how bytes reach the wire.
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
  /// What encrypts; nil while bytes travel in plain.
  private(set) var tls: TLSSession?

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
  }

  var isOpen: Bool { descriptor >= 0 }

  /// Whether a read may give something though the socket is not readable.
  var hasBuffered: Bool { tls?.hasBuffered ?? false }

  func tryRead(_ start: UnsafeMutableRawPointer, _ count: Int) -> Progress {
    if let tls { return Progress(tls.read(start, count), .read) }
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

  /// With `isMoreToCome`, the kernel may keep in plain what does not fill a packet until the rest is written.
  func tryWrite(_ bytes: UnsafeRawBufferPointer, isMoreToCome: Bool = false) -> Progress {
    guard let start = bytes.baseAddress else { return .done(0) }
    if let tls { return Progress(tls.write(start, bytes.count), .write) }
    let flags = Int32(MSG_NOSIGNAL) | (isMoreToCome ? Int32(MSG_MORE) : 0)
    return trySend { send(descriptor, start, bytes.count, flags) }
  }

  /// The same for bytes that lie in two places; only while they travel in plain.
  func tryWrite(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> Progress {
    var parts = (
      iovec(iov_base: UnsafeMutableRawPointer(mutating: first.baseAddress), iov_len: first.count),
      iovec(iov_base: UnsafeMutableRawPointer(mutating: second.baseAddress), iov_len: second.count)
    )
    return withUnsafeMutableBytes(of: &parts) { parts in
      var message = msghdr()
      message.msg_iov = parts.baseAddress?.assumingMemoryBound(to: iovec.self)
      message.msg_iovlen = 2
      return trySend { sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL)) }
    }
  }

  private func trySend(_ send: () -> Int) -> Progress {
    while true {
      let result = send()
      if result >= 0 { return .done(result) }
      let failure = Errno.last
      switch failure.code {
      case EINTR: continue
      case EAGAIN: return .wantsWrite
      default: return .failed(.system(.write, code: failure.code, text: failure.text))
      }
    }
  }

  /// Moves up to `count` bytes of a file, from `offset` on, to the socket; only while bytes travel in plain. `done(0)`: the
  /// file ends before.
  func trySendFile(_ file: Int32, _ offset: Int, _ count: Int) -> Progress {
    while true {
      do throws(Errno) {
        return .done(try sendFile(file, to: descriptor, from: offset, count: count))
      } catch {
        switch error.code {
        case EINTR: continue
        case EAGAIN: return .wantsWrite
        default: return .failed(.system(.write, code: error.code, text: error.text))
        }
      }
    }
  }

  /// From now on by TLS; `tryHandshake` comes before anything else.
  mutating func startTLS(_ context: TLSContext, serverName: String?) throws(NetworkError) {
    do throws(OpenSSLError) {
      tls = try TLSSession(context, descriptor: descriptor, serverName: serverName)
    } catch { throw .tls(error.description) }
  }

  func tryHandshake() -> Progress {
    tls.map { Progress($0.handshake(), .handshake) } ?? .done(0)
  }

  /// Says within TLS that nothing more comes; in plain there is nothing to say.
  func tryGoodbye() -> Progress {
    tls.map { Progress($0.endWriting(), .write) } ?? .done(0)
  }

  /// Tells the peer's system that nothing more comes.
  func endWriting() {
    if isOpen { _ = shutdown(descriptor, Int32(SHUT_WR)) }
  }

  /// Throws away what waits to be read from the socket, about `limit` bytes at most. To close on it would make the kernel
  /// reset the connection, and the peer lose our last answer.
  func discardReceived(limit: Int) {
    guard isOpen else { return }
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      var left = limit
      while left > 0 {
        let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        guard count > 0 else { return }
        left -= count
      }
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
    tls = nil
    _ = Glibc.close(descriptor)
    descriptor = -1
  }
}

extension Transport.Progress {
  fileprivate init(_ progress: TLSSession.Progress, _ operation: NetworkError.Operation) {
    self =
      switch progress {
      case .done(let count): .done(count)
      case .wantsRead: .wantsRead
      case .wantsWrite: .wantsWrite
      case .end: .end
      case .truncated: .failed(.truncated)
      case .system(let code): .failed(.system(operation, code: code, text: Errno(code: code).text))
      case .failed(let words): .failed(.tls(words))
      }
  }
}

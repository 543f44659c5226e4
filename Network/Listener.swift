import Event
import Glibc
import Linux

/// A listening TCP socket. `Server` uses it; by itself it only hands out what it accepts.
final class Listener: @unchecked Sendable {
  // Safe to share: after `init` everything mutable is touched by the loop's thread only.
  /// Where it listens; with port 0 in the request, the port that the system chose.
  let address: SocketAddress

  private let loop: EventLoop
  private let descriptor: Int32
  private let accept: @Sendable (Int32) throws(Errno) -> AcceptedSocket
  private let limit: @Sendable () -> Int
  private var deliver: ((AcceptedSocket) -> Void)?
  private var watch: IOWatch?
  private var pause: LoopTimer?
  private var isFull = false
  private(set) var isOpen = true

  /// How long no connection is accepted after the process or the machine ran out of descriptors.
  static let shortagePause = Duration.milliseconds(100)
  /// Accepted at most before others on the loop have their turn.
  private static let batch = 64

  /// Descriptors that no client gets, for what serving the others needs: files, databases. Numbers are given out from
  /// the lowest, so the number of a new one says how many are in use.
  static func reserve(of limit: Int) -> Int { min(64, limit / 4) }

  /// Takes the address. Throws `cannotListen`.
  init(
    address: SocketAddress, loop: EventLoop, backlog: Int = 1024,
    accept: @escaping @Sendable (Int32) throws(Errno) -> AcceptedSocket = acceptSocket(from:),
    limit: @escaping @Sendable () -> Int = descriptorLimit
  ) throws(NetworkError) {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = socket(address.family, type, 0)
    guard descriptor >= 0 else { throw .cannotListen(.init(address, .last)) }
    var on: Int32 = 1
    // A restart need not wait for old connections. Not SO_REUSEPORT: a second server on the port must fail.
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    guard address.withSockaddr({ bind(descriptor, $0, $1) }) == 0,
      listen(descriptor, Int32(clamping: backlog)) == 0
    else {
      let failure = Errno.last
      _ = Glibc.close(descriptor)
      throw .cannotListen(.init(address, failure))
    }
    self.address = SocketAddress(localOf: descriptor)
    self.loop = loop
    self.descriptor = descriptor
    self.accept = accept
    self.limit = limit
  }

  deinit {
    guard isOpen else { return }
    // Forgotten: the loop puts the parts away, before the descriptor's number is used again.
    nonisolated(unsafe) let parts = (watch, pause)
    let descriptor = descriptor
    loop.execute {
      parts.0?.cancel()
      parts.1?.cancel()
      _ = Glibc.close(descriptor)
    }
  }

  /// Begins to accept, on the loop's thread; `deliver` is called there.
  func start(_ deliver: @escaping (AcceptedSocket) -> Void) throws(NetworkError) {
    guard isOpen else { return }
    self.deliver = deliver
    do throws(EventError) {
      watch = try IOWatch(
        loop.base, descriptor: descriptor, for: .read, trigger: .level, handler: Events(self))
    } catch { throw .system(.loop, code: 0, text: error.reason) }
  }

  /// Whether there is no room for another connection: then they wait in the kernel's queue.
  func setFull(_ full: Bool) {
    guard full != isFull else { return }
    isFull = full
    updateWatch()
  }

  /// Stops to accept and gives the port back, on the loop's thread.
  func close() {
    guard isOpen else { return }
    isOpen = false
    watch?.cancel()
    watch = nil
    pause?.cancel()
    pause = nil
    deliver = nil
    _ = Glibc.close(descriptor)
  }

  private func acceptWaiting() {
    for _ in 0..<Self.batch where isOpen && !isFull {
      do throws(Errno) {
        let socket = try accept(descriptor)
        let limit = limit()
        guard Int(socket.descriptor) < limit - Self.reserve(of: limit) else {
          _ = Glibc.close(socket.descriptor)
          return pauseForShortage()
        }
        deliver?(socket)
      } catch {
        switch error.code {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: return pauseForShortage()
        case EINTR, ECONNABORTED: continue
        default: return  // EAGAIN, or a network error of the one connection (accept(2)); the watch is level-triggered
        }
      }
    }
  }

  /// The socket stays readable while descriptors are short, so to go on would spin.
  private func pauseForShortage() {
    guard pause == nil else { return }
    pause = try? LoopTimer(loop) { [weak self] in self?.resume() }
    pause?.start(after: Self.shortagePause)
    updateWatch()
  }

  private func resume() {
    pause?.cancel()
    pause = nil
    updateWatch()
  }

  private func updateWatch() {
    if isFull || pause != nil { watch?.pause() } else { watch?.resume() }
  }

  private final class Events: IOHandler {
    private weak var listener: Listener?
    init(_ listener: Listener) {
      self.listener = listener
    }
    func descriptorReady(_ readiness: Readiness) {
      listener?.acceptWaiting()
    }
  }
}

extension NetworkError.ListenFailure {
  init(_ address: SocketAddress, _ failure: Errno) {
    self.address = address.description
    code = failure.code
    text = failure.text
    hint =
      switch failure.code {
      case EADDRINUSE:
        "Another program listens there: `ss -ltnp 'sport = :\(address.port)'` names it. Stop it or choose another port."
      case EACCES, EPERM:
        "Ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or choose a higher port."
      case EADDRNOTAVAIL:
        "No interface of this machine has the address: `ip address` lists those it has; 0.0.0.0 or [::] means all."
      case EAFNOSUPPORT: "This machine has no IPv6: use an IPv4 address."
      case EMFILE, ENFILE: "No descriptor is left: raise the limit (`ulimit -n`, LimitNOFILE=)."
      default: "Check the address and what the system's log says."
      }
  }
}

import Event
import Glibc

/// A TCP connection, read and written by plain async code on its event loop.
///
/// Not Sendable: one session owns it and uses it from one task at a time, on the loop's thread. One task may read
/// while another of the same session writes. Whoever has it closes it; a `Server` closes those of its sessions.
///
/// An idle connection holds no buffer. Nothing is read that nobody asked for, and `write` waits when the peer does not
/// read, so a peer can make neither side grow.
public final class Connection {
  /// Where it lives.
  public let loop: EventLoop
  /// The other end.
  public let peer: SocketAddress
  /// How long a wait for bytes may last; nil for ever. `readLine` allows it for the whole line.
  public var readTimeout: Duration? = .seconds(300)
  /// How long a wait for the peer to take bytes may last without progress; nil for ever.
  public var writeTimeout: Duration? = .seconds(300)
  /// Whether the server stops: begin nothing new.
  public internal(set) var isDraining = false

  var transport: Transport
  var buffer: UnsafeMutableRawPointer?
  var head = 0  // what was read and not consumed is buffer[head..<tail]
  var tail = 0
  var atEnd = false
  var isDiscardingLine = false
  var readDeadline = Int64.max
  var output: [UInt8] = []  // what was not sent yet is output[sent...]
  var sent = 0
  var isSending = false  // a writer sends, or waits to

  // What the edges said last. Cleared by an EAGAIN or a short read, set by the next edge.
  var isReadable = true
  var isWritable = true
  var sawClose = false

  private var watch: IOWatch?
  private var timer: EventTimer?
  private var timerDeadline = Int64.max  // when the timer fires; max if it does not run
  private var reader = Waiter()
  private var writer = Waiter()
  private var waits = 0
  var reads = 0

  /// On the loop. Takes over the descriptor, also when it throws.
  init(loop: EventLoop, descriptor: Int32, peer: SocketAddress) throws(NetworkError) {
    self.loop = loop
    self.peer = peer
    transport = Transport(descriptor)
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    do throws(EventError) {
      watch = try IOWatch(
        loop.base, descriptor: descriptor, for: [.read, .write, .closed], trigger: .edge, handler: Events(self))
    } catch {
      transport.close()
      throw .system(.loop, code: 0, text: error.reason)
    }
  }

  deinit {
    guard watch != nil || timer != nil || buffer != nil else { return }
    // Forgotten, perhaps on another thread: the loop puts the parts away. Nobody else has them any more.
    nonisolated(unsafe) let parts = (watch, timer, buffer, transport)
    let loop = loop
    loop.execute {
      var (watch, timer, buffer, transport) = parts
      watch?.cancel()
      timer?.cancel()
      if let buffer { loop.giveBuffer(buffer) }
      transport.close()
      (watch, timer, buffer) = (nil, nil, nil)
    }
  }

  /// Whether `close` was not called yet.
  public var isOpen: Bool { transport.isOpen }

  /// Closes at once and ends all waits with `closed`. What was not flushed is lost; see `finish`.
  public func close() {
    guard transport.isOpen else { return }
    loop.checkIsolated()
    // To say so when something was lost would make what did arrive look whole.
    if pending == 0, !isSending { _ = transport.tryGoodbye() }
    watch?.cancel()
    watch = nil
    timer?.cancel()
    timer = nil
    transport.close()
    if let buffer { loop.giveBuffer(buffer) }
    buffer = nil
    (head, tail) = (0, 0)
    (output, sent) = ([], 0)
    wake(.reading, .closed)
    wake(.writing, .closed)
  }

  /// Ends a wait to read by `interrupted`; to be called on the loop. A session that does not wait does not notice.
  func interrupt() { wake(.reading, .interrupted) }

  /// The server stops: ends the wait of a session that is between two commands.
  func drain() {
    isDraining = true
    if reader.isIdle { wake(.reading, .draining) }
  }
}

// MARK: - Waiting

extension Connection {
  enum Direction: Sendable {
    case reading
    case writing
  }

  enum Reason {
    case ready
    case timedOut
    case cancelled
    case closed
    case draining
    case interrupted
  }

  private struct Waiter {
    var continuation: UnsafeContinuation<Reason, Never>?
    var needs: Readiness = []
    var isIdle = false
    var deadline = Int64.max
    var wait = 0
  }

  private subscript(_ direction: Direction) -> Waiter {
    get { direction == .reading ? reader : writer }
    set { if direction == .reading { reader = newValue } else { writer = newValue } }
  }

  private func isReady(_ needs: Readiness) -> Bool {
    needs.contains(.read) && isReadable || needs.contains(.write) && isWritable
  }

  /// Waits until the socket is ready for what `direction` needs, or until `deadline`.
  ///
  /// Not inlined, as other async functions here: each copy would be a part of the frame that an idle connection keeps.
  @inline(never)
  func wait(
    _ direction: Direction, for needs: Readiness, until deadline: Int64, operation: NetworkError.Operation,
    isIdle: Bool = false, isolation: isolated (any Actor)? = #isolation
  ) async throws(NetworkError) {
    waits &+= 1
    let wait = waits
    // Used by the cancellation handler, which hands it to the loop's thread and does not touch it itself.
    nonisolated(unsafe) let this = self
    let loop = self.loop
    let reason: Reason = await withTaskCancellationHandler {
      _ = isolation  // captured, so that the closure runs where we are, without a hop
      return await withUnsafeContinuation { continuation in
        precondition(self[direction].continuation == nil, "two tasks wait for the same direction of a connection")
        // To install the cancellation handler may have suspended us, so look only now: the edge may be gone by, and the
        // handler have found nobody.
        if Task.isCancelled { return continuation.resume(returning: .cancelled) }
        guard transport.isOpen else { return continuation.resume(returning: .closed) }
        if isReady(needs) { return continuation.resume(returning: .ready) }
        if isIdle && isDraining { return continuation.resume(returning: .draining) }
        self[direction] = Waiter(
          continuation: continuation, needs: needs, isIdle: isIdle, deadline: deadline, wait: wait)
        arm(deadline)
      }
    } onCancel: {
      loop.execute { if this[direction].wait == wait { this.wake(direction, .cancelled) } }
    }
    switch reason {
    case .ready: return
    case .timedOut: throw .timedOut(operation)
    case .cancelled: throw .cancelled
    case .closed: throw .closed
    case .draining: throw .shuttingDown
    case .interrupted: throw .interrupted
    }
  }

  func wake(_ direction: Direction, _ reason: Reason) {
    guard let continuation = self[direction].continuation else { return }
    self[direction] = Waiter()
    continuation.resume(returning: reason)
  }

  /// The timer is lazy: a wait that ends in time leaves it running, and it is set anew only when it fires too early.
  private func arm(_ deadline: Int64) {
    guard deadline < timerDeadline else { return }
    if timer == nil { timer = try? EventTimer(loop.base, handler: Events(self)) }
    timerDeadline = deadline
    timer?.start(milliseconds: deadline - loop.now)
  }
}

// MARK: - Events

extension Connection {
  /// What the loop tells, outside any job, if there is still somebody to tell.
  private final class Events: IOHandler, TimerHandler {
    private weak var connection: Connection?

    init(_ connection: Connection) {
      self.connection = connection
    }

    func descriptorReady(_ readiness: Readiness) {
      connection?.becameReady(readiness)
    }

    func timerFired() {
      connection?.timeIsUp()
    }
  }

  private func becameReady(_ readiness: Readiness) {
    if readiness.contains(.closed) { sawClose = true }
    if readiness.contains(.read) || readiness.contains(.closed) { isReadable = true }
    if readiness.contains(.write) { isWritable = true }
    if isReady(reader.needs) { wake(.reading, .ready) }
    if isReady(writer.needs) { wake(.writing, .ready) }
  }

  private func timeIsUp() {
    timerDeadline = .max
    let now = loop.now
    for direction in [Direction.reading, .writing] where self[direction].continuation != nil {
      if self[direction].deadline <= now { wake(direction, .timedOut) } else { arm(self[direction].deadline) }
    }
  }
}

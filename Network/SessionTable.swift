import Glibc
import Linux

/// The sessions of a server that live on one loop.
final class SessionTable: @unchecked Sendable {
  // Safe to share: everything mutable is touched by the loop's thread only.
  private struct Entry {
    let task: Task<Void, Never>
    let connection: Connection
  }
  private enum Phase {
    case serving
    case draining
    case cancelled
    case closed
  }

  private let loop: EventLoop
  private let handler: Server.Handler
  private let released: @Sendable () -> Void
  private var entries: [Int: Entry] = [:]
  private var next = 0
  private var phase = Phase.serving
  private var timers: [LoopTimer] = []
  private var waiters: [UnsafeContinuation<Void, Never>] = []

  init(loop: EventLoop, handler: @escaping Server.Handler, released: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.handler = handler
    self.released = released
  }

  /// Starts a session. From any loop.
  func adopt(_ socket: AcceptedSocket) {
    if loop.isOnLoop { begin(socket) } else { loop.execute { self.begin(socket) } }
  }

  private func begin(_ socket: AcceptedSocket) {
    guard phase == .serving else {
      _ = Glibc.close(socket.descriptor)
      return released()
    }
    do throws(NetworkError) {
      let connection = try Connection(
        loop: loop, descriptor: socket.descriptor, peer: SocketAddress(sockaddr: socket.address))
      next += 1
      let id = next
      // The table looks at the connection on the loop's thread only, as the session does.
      nonisolated(unsafe) let shared = connection
      let session = Session(shared)
      let task = Task(executorPreference: loop.taskExecutor) { [handler] in
        await session.run(handler)
        self.end(id)
      }
      entries[id] = Entry(task: task, connection: shared)
    } catch {
      released()  // no memory for its events; the connection is closed
    }
  }

  private func end(_ id: Int) {
    loop.checkIsolated()
    entries[id] = nil
    released()
    if entries.isEmpty { finishShutdown() }
  }

  // MARK: Shutdown

  func beginShutdown(draining: Duration, deadline: Duration) {
    loop.execute {
      guard self.phase == .serving else { return }
      self.phase = .draining
      for entry in self.entries.values { entry.connection.drain() }
      self.schedule(after: draining) {
        self.phase = .cancelled
        for entry in self.entries.values { entry.task.cancel() }
      }
      self.schedule(after: max(draining, deadline)) {
        self.phase = .closed
        for entry in self.entries.values {
          entry.task.cancel()
          entry.connection.close()
        }
      }
      if self.entries.isEmpty { self.finishShutdown() }
    }
  }

  /// Returns when no session is left after `beginShutdown`.
  func ended() async {
    await withUnsafeContinuation { continuation in
      loop.execute {
        self.waiters.append(continuation)
        if self.entries.isEmpty { self.finishShutdown() }
      }
    }
  }

  private func schedule(after duration: Duration, _ body: @escaping () -> Void) {
    guard let timer = try? LoopTimer(loop, body) else { return body() }
    timer.start(after: duration)
    timers.append(timer)
  }

  private func finishShutdown() {
    guard phase != .serving else { return }
    for timer in timers { timer.cancel() }
    timers = []
    for waiter in waiters { waiter.resume() }
    waiters = []
  }
}

/// The actor that owns a connection while its handler runs.
private actor Session {
  private let connection: Connection
  nonisolated private let loop: EventLoop

  init(_ connection: sending Connection) {
    loop = connection.loop
    self.connection = connection
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  func run(_ handler: Server.Handler) async {
    // Keeps the hop to this actor; see `LoopIsland.run`.
    loop.checkIsolated()
    await handler(connection)
    connection.close()
  }
}

extension Capacity {
  /// Tells a connection that there is no room, without waiting, and closes it.
  func refuse(_ socket: AcceptedSocket) {
    var transport = Transport(socket.descriptor)
    _ = refusal.withUnsafeBytes { transport.tryWrite($0) }
    transport.endWriting()
    transport.discardReceived(limit: 1 << 16)
    transport.close()
  }
}

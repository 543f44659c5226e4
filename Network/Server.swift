import Synchronization

/// Listens at an address and runs one session for each connection.
///
/// For example:
///
///     let server = try Server(address: try SocketAddress(parsing: "127.0.0.1:0"), loops: [loop]) { connection in
///       do throws(NetworkError) {
///         while let line = try await connection.readLine(limit: 510, idle: true) {
///           try await connection.write(line + [13, 10])
///         }
///       } catch .shuttingDown { try? await connection.write("421 shutting down\r\n") } catch {}
///       await connection.finish()
///     }
///     try await server.start()
///     print(server.address)
///     await server.shutdown()
///
/// The handler is plain async code: it runs on the connection's loop, where it must not block, and may await anything.
/// The connection is closed when it returns.
public final class Server: Sendable {
  /// Serves one connection from its first byte to its last.
  public typealias Handler = @Sendable (Connection) async -> Void

  /// Where it listens; port 0 in the request became the port that the system chose.
  public let address: SocketAddress

  private let listener: Listener
  private let acceptor: EventLoop
  private let parts: [SessionTable]
  private let capacity: Capacity

  /// Takes the address; nobody is served before `start`.
  ///
  /// - Parameters:
  ///   - loops: where sessions run, in turn; at least one. The first one accepts.
  ///   - maxConnections: beyond it, new connections wait in the kernel's queue, or get the `refusal`.
  ///   - refusal: what a connection beyond the limit is sent before it is closed, as "421 4.3.2 Too busy\r\n";
  ///     empty to let it wait.
  /// - Throws: `cannotListen`, with what to do.
  public init(
    address: SocketAddress, loops: [EventLoop], maxConnections: Int = 10_000, refusal: [UInt8] = [],
    handler: @escaping Handler
  ) throws(NetworkError) {
    precondition(!loops.isEmpty, "a server needs an event loop")
    acceptor = loops[0]
    listener = try Listener(address: address, loop: loops[0])
    self.address = listener.address
    let capacity = Capacity(limit: max(1, maxConnections), refusal: refusal)
    self.capacity = capacity
    let listener = listener
    let acceptor = acceptor
    let released: @Sendable () -> Void = {
      // Only what made room for the first one needs to tell.
      if capacity.release() { acceptor.execute { listener.setFull(capacity.isFull) } }
    }
    parts = loops.map { SessionTable(loop: $0, handler: handler, released: released) }
  }

  /// Begins to serve.
  public func start() async throws(NetworkError) {
    try await acceptor.run { () async throws(NetworkError) -> Void in
      var next = 0
      let (parts, capacity, listener) = (self.parts, self.capacity, self.listener)
      try listener.start { socket in
        guard capacity.take() else {
          capacity.refuse(socket)
          return
        }
        if capacity.isFull && !capacity.refuses { listener.setFull(true) }
        let part = parts[next]
        next = (next + 1) % parts.count
        part.adopt(socket)
      }
    }
  }

  /// Sessions that run now.
  public var connections: Int { capacity.used }

  /// Stops: no new connections, and sessions end in three steps, each only for those that the one before left.
  ///
  /// At once, waits marked `idle` throw `shuttingDown` and `Connection.isDraining` says so; after `draining`, sessions
  /// are cancelled (waits throw `cancelled`; a short farewell can still be written); after `deadline`, counted from
  /// the call, their connections are closed. Returns when every session has ended.
  public func shutdown(draining: Duration = .seconds(5), deadline: Duration = .seconds(10)) async {
    await acceptor.run { self.listener.close() }
    for part in parts { part.beginShutdown(draining: draining, deadline: deadline) }
    for part in parts { await part.ended() }
  }
}

/// How many connections there may be, shared by the loops.
final class Capacity: Sendable {
  private let limit: Int
  let refusal: [UInt8]
  private let count = Atomic<Int>(0)

  init(limit: Int, refusal: [UInt8]) {
    self.limit = limit
    self.refusal = refusal
  }

  var used: Int { count.load(ordering: .relaxed) }
  var isFull: Bool { used >= limit }
  var refuses: Bool { !refusal.isEmpty }

  /// One place, if there is one. Called by the accepting loop only, so nobody else can take the last one in between.
  func take() -> Bool {
    guard !isFull else { return false }
    count.add(1, ordering: .relaxed)
    return true
  }

  /// Gives a place back; whether there was none before.
  func release() -> Bool {
    count.subtract(1, ordering: .relaxed).oldValue == limit
  }
}

import Glibc
import Testing

@testable import Network

/// Runs a test with an event loop of its own.
func withLoop<R: Sendable>(_ body: @Sendable (EventLoop) async throws -> R) async throws -> R {
  let loop = try EventLoop()
  defer { loop.stop() }
  return try await body(loop)
}

/// Runs a test with a server on a free port of 127.0.0.1, and stops it.
func withServer(
  maxConnections: Int = 100, refusal: [UInt8] = [], handler: @escaping Server.Handler,
  _ body: @Sendable (EventLoop, Server) async throws -> Void
) async throws {
  try await withLoop { loop in
    let server = try Server(
      address: .freePort, loops: [loop], maxConnections: maxConnections, refusal: refusal, handler: handler)
    try await server.start()
    do {
      // The body is a client on the same loop: it uses connections.
      try await loop.run { try await body(loop, server) }
    } catch {
      await server.shutdown(draining: .zero, deadline: .zero)
      throw error
    }
    await server.shutdown(draining: .zero, deadline: .seconds(5))
    #expect(server.connections == 0)
  }
}

/// Asks again and again, on the loop; the limit is for failures only.
func eventually(
  _ what: String, on loop: EventLoop, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool
) async throws {
  for _ in 0..<10_000 where !condition() { try await loop.sleep(for: .milliseconds(1)) }
  #expect(condition(), "\(what): not within 10 s", sourceLocation: sourceLocation)
}

extension SocketAddress {
  static var freePort: SocketAddress {
    get throws { try SocketAddress(parsing: "127.0.0.1:0") }
  }
}

extension Connection {
  /// All that comes until the peer's end, as text.
  func readAll() async throws(NetworkError) -> String {
    var all: [UInt8] = []
    while let bytes = try await read() { all += bytes }
    return String(decoding: all, as: UTF8.self)
  }

  func expectLine(_ line: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let found = try await readLine(limit: 1000)
    #expect(found.map { String(decoding: $0, as: UTF8.self) } == line, sourceLocation: sourceLocation)
  }
}

/// Something that one task says and another waits for, any number of times.
final class Event<Value: Sendable>: Sendable {
  private let stream: AsyncStream<Value>
  private let source: AsyncStream<Value>.Continuation

  init() {
    (stream, source) = AsyncStream.makeStream()
  }

  func send(_ value: Value) {
    source.yield(value)
  }

  /// The next value that was or will be sent; the suite's time limit bounds the wait.
  func next() async -> Value? {
    await stream.first { _ in true }
  }
}

func caught<R>(_ body: () async throws(NetworkError) -> R) async -> NetworkError? {
  do throws(NetworkError) {
    _ = try await body()
    return nil
  } catch { return error }
}

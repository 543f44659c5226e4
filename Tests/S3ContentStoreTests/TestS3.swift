import Glibc
import Network
import Pipeline
import S3ContentStore
import Testing

/// The real S3 that the tests use: `Scripts/test` starts one, or `MAILFLOW_TEST_S3=http://KEY:SECRET@HOST:PORT/BUCKET`
/// names one.
enum TestS3 {
  static let isThere = settings != nil
  static let howToGetIt: Comment =
    "no S3: name a bucket by MAILFLOW_TEST_S3=http://KEY:SECRET@HOST:PORT/BUCKET, or run Scripts/test"

  static let settings: Topology.S3Settings? = {
    guard let text = getenv("MAILFLOW_TEST_S3").map({ String(cString: $0) }),
      let parts = text.wholeMatch(of: /(https?:\/\/)([^:@]+):([^@]+)@(.*)/)
    else { return nil }
    return Topology.S3Settings(
      url: "\(parts.1)\(parts.4)/test-\(SystemRandom().next())", accessKey: String(parts.2), secretKey: String(parts.3))
  }()

  /// Puts bytes under any name, as the store would never do.
  static func overwrite(_ settings: Topology.S3Settings, _ reference: ContentReference, _ bytes: Bytes) async throws {
    let loop = try EventLoop()
    defer { loop.stop() }
    let client = HTTPClient(loop: loop)
    defer { client.close() }
    var request = HTTPClient.Request(
      "PUT", "\(settings)/\(reference.digest.prefix(2))/\(reference.digest.dropFirst(2))")
    request.fields = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
    request.signature = .init(
      region: settings.region, service: "s3", accessKey: settings.accessKey, secretKey: settings.secretKey)
    request.body = Array(bytes)
    #expect(try await client.send(request).status == 200)
  }
}

/// Stands between a client and a server, and takes itself away.
final class Relay: Sendable {
  private let loop: EventLoop
  private let upstream: SocketAddress
  private let state: Holder
  /// Where it listens.
  let address: SocketAddress

  private actor Holder {
    var server: Server?
    func set(_ new: Server?) -> Server? {
      defer { server = new }
      return server
    }
  }

  init(to upstream: SocketAddress) async throws {
    loop = try EventLoop()
    self.upstream = upstream
    state = Holder()
    let server = try Self.server(SocketAddress(parsing: "127.0.0.1:0"), loop, upstream)
    address = server.address
    try await server.start()
    _ = await state.set(server)
  }

  func set(isThere: Bool) async throws {
    if let old = await state.set(nil) { await old.shutdown(draining: .zero, deadline: .zero) }
    guard isThere else { return }
    let server = try Self.server(address, loop, upstream)
    try await server.start()
    _ = await state.set(server)
  }

  func stop() async throws {
    try await set(isThere: false)
    loop.stop()
  }

  private static func server(_ address: SocketAddress, _ loop: EventLoop, _ upstream: SocketAddress) throws -> Server {
    try Server(address: address, loops: [loop]) { connection in
      do throws(NetworkError) {
        let other = try await Connection.connect(to: upstream, on: connection.loop)
        defer { other.close() }
        nonisolated(unsafe) let (a, b) = (connection, other)
        async let back: Void = pump(b, a)
        await pump(a, b)
        b.close()
        await back
      } catch {}
    }
  }

  private static func pump(_ source: Connection, _ target: Connection) async {
    do throws(NetworkError) {
      while let bytes = try await source.read() {
        try await target.write(bytes)
        try await target.flush()
      }
    } catch {}
    target.close()
  }
}

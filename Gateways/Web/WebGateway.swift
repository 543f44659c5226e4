public import Mail
public import Network
public import Pipeline

/// Serves `WebAPI` over HTTP/1.1 at one address.
public final class WebGateway: Sendable {
  private let server: Server

  /// Takes the address; nobody is served before `start`.
  ///
  /// - Parameter certificate: what is served by TLS alone then; nil: in plain.
  /// - Throws: `NetworkError.invalidAddress` or `.cannotListen`, with what to do.
  public init(
    _ options: WebGatewayOptions, loops: [EventLoop], store: MailStore, index: any SearchIndex,
    certificate: CertificateFiles? = nil,
    readiness: @escaping @Sendable () -> Readiness, log: Log
  ) throws(NetworkError) {
    // One each: what they share otherwise, they wait for.
    let apis = Dictionary(
      loops.map { loop in
        (ObjectIdentifier(loop), WebAPI(store: store, index: index, log: log, readiness: readiness))
      }, uniquingKeysWith: { first, _ in first })
    var limits = HTTPLimits()
    limits.body = 65_536  // nothing here takes one
    limits.clients = ClientCounter(limit: options.maximumConnectionsPerAddress)
    let fixed = limits
    server = try Server(
      address: try SocketAddress(parsing: options.listen), loops: loops, maxConnections: options.maximumConnections
    ) { connection in
      guard let api = apis[ObjectIdentifier(connection.loop)] else { return connection.close() }
      var session = HTTPSession(fixed, certificate: certificate) { request in await api.respond(to: request) }
      await session.run(connection)
    }
  }

  /// Where it listens; port 0 became the one that the system chose.
  public var address: SocketAddress { server.address }

  /// Begins to serve.
  public func start() async throws(NetworkError) { try await server.start() }

  /// Stops: requests that run are answered within `draining`; what is left is cut off at `deadline`.
  public func shutdown(draining: Duration = .seconds(5), deadline: Duration = .seconds(10)) async {
    await server.shutdown(draining: draining, deadline: deadline)
  }
}

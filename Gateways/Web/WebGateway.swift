public import Mail
public import Network
public import Pipeline

/// Serves the REST API over HTTP/1.1 at one address.
public final class WebGateway: Sendable {
  private let server: Server

  /// Takes the address; nobody is served before `start`.
  ///
  /// - Throws: `NetworkError.invalidAddress` or `.cannotListen`, with what to do.
  public init(
    _ options: WebGatewayOptions, loops: [EventLoop], store: MailStore,
    readiness: @escaping @Sendable () -> Readiness, log: Log
  ) throws(NetworkError) {
    let service = RESTService(store: store, readiness: readiness)
    server = try Server(
      address: try SocketAddress(parsing: options.listen), loops: loops, maxConnections: options.maximumConnections
    ) { connection in
      var session = HTTPSession { request in await Self.respond(request, service) }
      await session.run(connection)
    }
  }

  private static func respond(_ request: HTTPRequest, _ service: RESTService) async -> HTTPResponse {
    let answer = await service.answer(
      RESTService.Request(
        request.method, request.path, query: request.query, token: token(request.field("Authorization"))))
    return HTTPResponse(answer.status, fields: answer.fields, body: answer.body)
  }

  /// The token of `Bearer TOKEN` (RFC 6750 section 2.1); the scheme in any case.
  private static func token(_ field: String?) -> String? {
    guard let words = field?.split(separator: " "), words.count == 2, words[0].lowercased() == "bearer" else {
      return nil
    }
    return String(words[1])
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

/// Serves one HTTP/1.1 connection: requests one after another, answers in the same order.
public struct HTTPSession {
  private let limits: HTTPLimits
  private let handler: HTTPStreamingHandler
  private var served = 0
  private let certificate: CertificateFiles?

  /// A session that answers with `handler`, by TLS if there is a certificate. Bodies are read whole before it is asked.
  public init(
    _ limits: HTTPLimits = HTTPLimits(), certificate: CertificateFiles? = nil, handler: @escaping HTTPHandler
  ) {
    self.init(limits, certificate: certificate) { request, body in
      guard !body.isEmpty else { return await handler(request) }
      var request = request
      do throws(HTTPError) {
        request.body = try await body.collect()
      } catch { return .text(error.status, error.reason) }
      return await handler(request)
    }
  }

  /// A session whose handler reads bodies as they come.
  public init(
    _ limits: HTTPLimits = HTTPLimits(), certificate: CertificateFiles? = nil,
    streaming handler: @escaping HTTPStreamingHandler
  ) {
    self.limits = limits
    self.certificate = certificate
    self.handler = handler
  }

  /// Runs until the client is gone, has to go, or the server stops.
  public mutating func run(_ connection: Connection) async {
    let client = connection.peer.host
    let wire = HTTPWire(connection, limits)
    guard limits.clients?.enter(client) ?? true else {
      guard certificate == nil else { return connection.close() }
      try? await wire.send(.text(429, "too many connections from your address"), keepsAlive: false)
      return await connection.finish()
    }
    defer { limits.clients?.leave(client) }
    connection.limitUnsent()  // answers to many requests, of a client that does not read them
    do throws(NetworkError) {
      if let certificate { try await connection.startTLS(certificate.current, timeout: limits.headTime) }
      var next = Next.request
      while case .request = next { next = try await serveOne(wire) }
      // Out here, so that nothing of the request is kept for as long as that takes.
      if case .upgrade(let run) = next { await run(connection) }
    } catch {}
    await connection.finish()
  }

  /// What comes behind an answer.
  private enum Next {
    case request
    case end
    case upgrade(@Sendable (Connection) async -> Void)
  }

  /// Reads and answers one request.
  @inline(never)
  private mutating func serveOne(_ wire: HTTPWire) async throws(NetworkError) -> Next {
    guard let head = try await nextHead(wire) else { return .end }
    served &+= 1
    // Hundreds of requests may lie in the buffer, and a handler need not wait: others of the loop have their turn.
    if served & 15 == 0 { await Task.yield() }
    return try await answer(head, wire)
  }

  /// The next head; nil at the end. What is refused has been answered then.
  @inline(never)
  private func nextHead(_ wire: HTTPWire) async throws(NetworkError) -> HTTPHead? {
    let refusal: HTTPError
    do throws(NetworkError) {
      switch try await wire.nextHead() {
      case .end: return nil
      case .head(let head): return head
      case .refused(let error): refusal = error
      }
    } catch .timedOut(.read) where !wire.parser.isIdle {
      refusal = HTTPError(408, "the request took too long")
    }
    _ = try await refuse(refusal, wire)
    return nil
  }

  // In two parts, since a task keeps the memory of its largest function for as long as it lives.
  @inline(never)
  private func answer(_ head: HTTPHead, _ wire: HTTPWire) async throws(NetworkError) -> Next {
    let body = HTTPBody(head, wire)
    let response = await handler(head.request, body)
    return try await send(response, to: head.request, body, wire)
  }

  @inline(never)
  private func send(
    _ response: HTTPResponse, to request: HTTPRequest, _ body: HTTPBody, _ wire: HTTPWire
  ) async throws(NetworkError) -> Next {
    switch body.failure {
    case .refused(let error): return try await refuse(error, wire)
    case .network(let error): throw error
    case nil: break
    }
    if case .upgrade(let run) = response.body, response.status == 101 {
      guard body.isEmpty else { return try await refuse(HTTPError(400, "a body before the upgrade"), wire) }
      try await wire.send(response, to: request, keepsAlive: true)
      try await wire.connection.flush()
      wire.connection.limitReading(to: nil)
      return .upgrade(run)
    }
    var keepsAlive = request.keepsAlive && !wire.connection.isDraining && body.isWorthDiscarding
    // Its end is the only one that HTTP/1.0 would see.
    if response.body.size == nil, !request.isVersion11 { keepsAlive = false }
    try await wire.send(response, to: request, keepsAlive: keepsAlive)
    guard keepsAlive, await body.discard() else { return .end }
    return .request
  }

  @inline(never)
  private func refuse(_ error: HTTPError, _ wire: HTTPWire) async throws(NetworkError) -> Next {
    try await wire.send(.text(error.status, error.reason), keepsAlive: false)
    return .end
  }
}

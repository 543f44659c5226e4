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
    do throws(NetworkError) {
      if let certificate { try await connection.startTLS(certificate.current, timeout: limits.headTime) }
      while try await serveOne(wire) {}
    } catch {}
    await connection.finish()
  }

  /// Reads and answers one request; false when it was the last one.
  private mutating func serveOne(_ wire: HTTPWire) async throws(NetworkError) -> Bool {
    let head: HTTPHead
    do throws(NetworkError) {
      switch try await wire.nextHead() {
      case .end: return false
      case .refused(let error): return try await refuse(error, wire)
      case .head(let next): head = next
      }
    } catch .timedOut(.read) where !wire.parser.isIdle {
      return try await refuse(HTTPError(408, "the request took too long"), wire)
    }
    served &+= 1
    // Hundreds of requests may lie in the buffer, and a handler need not wait: others of the loop have their turn.
    if served & 15 == 0 { await Task.yield() }
    let body = HTTPBody(head, wire)
    let response = await handler(head.request, body)
    switch body.failure {
    case .refused(let error): return try await refuse(error, wire)
    case .network(let error): throw error
    case nil: break
    }
    let connection = wire.connection
    if case .upgrade(let run) = response.body, response.status == 101 {
      guard body.isEmpty else { return try await refuse(HTTPError(400, "a body before the upgrade"), wire) }
      try await wire.send(response, to: head.request, keepsAlive: true)
      try await connection.flush()
      connection.limitReading(to: nil)
      await run(connection)
      return false
    }
    var keepsAlive = head.request.keepsAlive && !connection.isDraining && body.isWorthDiscarding
    // Its end is the only one that HTTP/1.0 would see.
    if response.body.size == nil, !head.request.isVersion11 { keepsAlive = false }
    try await wire.send(response, to: head.request, keepsAlive: keepsAlive)
    return keepsAlive ? await body.discard() : false
  }

  private func refuse(_ error: HTTPError, _ wire: HTTPWire) async throws(NetworkError) -> Bool {
    try await wire.send(.text(error.status, error.reason), keepsAlive: false)
    return false
  }
}

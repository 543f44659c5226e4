import Glibc

/// Serves one HTTP/1.1 connection: requests one after another, answers in the same order.
public struct HTTPSession {
  private let limits: HTTPLimits
  private let handler: HTTPHandler
  private var parser: HTTPRequestParser
  private var served = 0
  private let certificate: CertificateFiles?

  /// A session that answers with `handler`, by TLS if there is a certificate.
  public init(
    _ limits: HTTPLimits = HTTPLimits(), certificate: CertificateFiles? = nil, handler: @escaping HTTPHandler
  ) {
    self.limits = limits
    self.certificate = certificate
    self.handler = handler
    parser = HTTPRequestParser(limits)
  }

  /// Runs until the client is gone, has to go, or the server stops.
  public mutating func run(_ connection: Connection) async {
    let client = connection.peer.host
    guard limits.clients?.enter(client) ?? true else {
      guard certificate == nil else { return connection.close() }
      try? await send(.text(429, "too many connections from your address"), connection, keepsAlive: false)
      return await connection.finish()
    }
    defer { limits.clients?.leave(client) }
    do throws(NetworkError) {
      if let certificate { try await connection.startTLS(certificate.current, timeout: limits.headTime) }
      while try await serveOne(connection) {}
    } catch .timedOut(.read) {
      if !parser.isIdle { try? await send(.text(408, "the request took too long"), connection, keepsAlive: false) }
    } catch {}
    await connection.finish()
  }

  /// Reads and answers one request; false when it was the last one.
  private mutating func serveOne(_ connection: Connection) async throws(NetworkError) -> Bool {
    guard let request = try await readRequest(connection) else { return false }
    served &+= 1
    // Hundreds of requests may lie in the buffer, and a handler need not wait: others of the loop have their turn.
    if served & 15 == 0 { await Task.yield() }
    let response = await handler(request)
    let keepsAlive = request.keepsAlive && !connection.isDraining
    try await send(response, connection, isHead: request.method == "HEAD", keepsAlive: keepsAlive)
    return keepsAlive
  }

  private mutating func readRequest(_ connection: Connection) async throws(NetworkError) -> HTTPRequest? {
    connection.limitReading(to: nil)
    connection.writeTimeout = limits.writeTime
    connection.readTimeout = limits.idleTime
    var phase = 0
    while true {
      if connection.buffered == 0 {
        guard try await connection.fill(idle: parser.isIdle) else { return nil }
      }
      // The whole head, and then the whole body, has a time: a byte now and then does not keep the connection.
      if phase == 0 {
        connection.limitReading(to: limits.headTime)
        phase = 1
      }
      let event: HTTPRequestParser.Event
      do throws(HTTPError) {
        event = try feed(connection)
      } catch {
        try await send(.text(error.status, error.reason), connection, keepsAlive: false)
        return nil
      }
      if phase == 1, parser.isInBody {
        connection.limitReading(to: limits.bodyTime)
        phase = 2
      }
      switch event {
      case .more: continue
      case .wantsContinue:
        try await connection.write("HTTP/1.1 100 Continue\r\n\r\n")
      case .request(let request): return request
      }
    }
  }

  private mutating func feed(_ connection: Connection) throws(HTTPError) -> HTTPRequestParser.Event {
    try connection.consume { (bytes) throws(HTTPError) in
      let (event, consumed) = try parser.feed(bytes)
      return (result: event, consumed: consumed)
    }
  }

  private func send(
    _ response: HTTPResponse, _ connection: Connection, isHead: Bool = false, keepsAlive: Bool
  ) async throws(NetworkError) {
    let body =
      switch response.body {
      case .bytes(let bytes): bytes
      }
    var head = "HTTP/1.1 \(response.status) \(Self.reason(response.status))\r\n"
    for field in response.fields { head += "\(Self.clean(field.name)): \(Self.clean(field.value))\r\n" }
    if response.status != 204, response.status != 304 { head += "Content-Length: \(body.count)\r\n" }
    head += "Date: \(Self.date())\r\n"
    if !keepsAlive { head += "Connection: close\r\n" }
    try await connection.write(head + "\r\n")
    if !isHead, response.status != 204, response.status != 304 { try await connection.write(body) }
    // Answers to pipelined requests go out together: `fill` sends what was written before it waits.
    if connection.buffered == 0 || !keepsAlive { try await connection.flush() }
  }

  /// No field that a handler gives can end early and begin another.
  private static func clean(_ text: String) -> String {
    text.utf8.contains { $0 < 32 || $0 == 127 }
      ? String(text.unicodeScalars.filter { $0.value >= 32 && $0.value != 127 }.map(Character.init)) : text
  }

  /// IMF-fixdate (RFC 9110 section 5.6.7).
  private static func date() -> String {
    var now = time(nil)
    var parts = tm()
    gmtime_r(&now, &parts)
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let day = days[Int(max(0, min(6, parts.tm_wday)))]
    let month = months[Int(max(0, min(11, parts.tm_mon)))]
    return "\(day), \(two(parts.tm_mday)) \(month) \(1900 + parts.tm_year) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
  }

  private static func reason(_ status: Int) -> String {
    let reasons = [
      200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content", 304: "Not Modified",
      400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
      408: "Request Timeout", 413: "Content Too Large", 417: "Expectation Failed", 429: "Too Many Requests",
      431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
      503: "Service Unavailable", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
    ]
    return reasons[status] ?? "Status"
  }
}

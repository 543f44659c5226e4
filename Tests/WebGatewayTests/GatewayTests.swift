import Mail
import Network
import Pipeline
import Testing
import WebGateway

/// The gateway on a socket.
@Suite(.timeLimit(.minutes(1))) struct GatewayTests {
  /// Sends `requests` on one connection, and returns everything that comes until the gateway closes it.
  private func answers(_ requests: @Sendable (Mailboxes) async throws -> String) async throws -> (
    text: String, mailboxes: Mailboxes
  ) {
    let mailboxes = try await Mailboxes()
    let loop = try EventLoop()
    defer { loop.stop() }
    let options = WebGatewayOptions(
      OptionValues(["listen": .text("127.0.0.1:0")], schema: WebGatewayOptions.schema))
    let gateway = try WebGateway(
      options, loops: [loop], store: mailboxes.store, index: mailboxes.index,
      readiness: { Readiness(isReady: true, stages: []) },
      log: Log(clock: SystemClock.shared) { _ in })
    try await gateway.start()
    let request = try await requests(mailboxes)
    let text = try await loop.run {
      let connection = try await Connection.connect(to: gateway.address, on: loop)
      try await connection.write(request)
      try await connection.flush()
      var all: [UInt8] = []
      while let bytes = try await connection.read() { all += bytes }
      return String(decoding: all, as: UTF8.self)
    }
    await gateway.shutdown(draining: .zero, deadline: .seconds(5))
    return (text, mailboxes)
  }

  private func get(_ target: String, _ fields: String..., close: Bool = true) -> String {
    let lines = ["GET \(target) HTTP/1.1", "Host: x"] + fields + (close ? ["Connection: close"] : [])
    return lines.joined(separator: "\r\n") + "\r\n\r\n"
  }

  @Test func servesOverHTTP() async throws {
    let (text, mailboxes) = try await answers { mailboxes in
      let bearer = "Authorization: Bearer \(mailboxes.alice.token)"
      return get("/v1/folders", bearer, close: false) + get("/v1/messages?limit=1", bearer, close: false)
        + get("/v1/messages/\(mailboxes.alice.messages[3])/raw", bearer)
    }
    #expect(text.ranges(of: "HTTP/1.1 200 OK\r\n").count == 3)
    #expect(text.contains(#""role":"inbox""#))
    #expect(text.contains("\"id\":\"\(mailboxes.alice.messages[6])\""))
    #expect(text.hasSuffix("\r\n\r\nReturn-Path: <s@x>\r\n" + Mailboxes.text(3)))
  }

  /// From its file, behind the headers that are ours.
  @Test func servesLargeMail() async throws {
    let content = "Subject: large\r\n\r\n" + (0..<50_000).map { "\($0)\r\n" }.joined()
    let text = try await answers { mailboxes in
      let bearer = "Authorization: Bearer \(mailboxes.alice.token)"
      let id = try await mailboxes.deliver(Bytes(content))
      return get("/v1/messages/\(id)/raw", bearer, "Range: bytes=13-29", close: false)
        + get("/v1/messages/\(id)/raw", bearer, "If-None-Match: \"\(id)\"", close: false)
        + get("/v1/messages/\(id)/raw", bearer)
    }.text
    #expect(text.contains("\r\n\r\n<s@x>\r\nSubject: lHTTP/1.1 304 "))
    #expect(text.contains("\r\nContent-Range: bytes 13-29/\(20 + content.utf8.count)\r\n"))
    #expect(text.hasSuffix("\r\n\r\nReturn-Path: <s@x>\r\n" + content))
  }

  @Test func asksForOneToken() async throws {
    let none = try await answers { _ in get("/v1/folders") }.text
    #expect(none.hasPrefix("HTTP/1.1 401 "))
    #expect(none.contains("\r\nWWW-Authenticate: Bearer realm=\"mailflow\"\r\n"))
    // Another reader might take the other one.
    let two = try await answers { mailboxes in
      get(
        "/v1/folders", "Authorization: Bearer \(mailboxes.alice.token)", "authorization: Bearer \(mailboxes.bob.token)")
    }.text
    #expect(two.hasPrefix("HTTP/1.1 401 "))
  }

  @Test func decodesTheTargetOnce() async throws {
    let text = try await answers { mailboxes in
      get("/v1/folders%2f..", "Authorization: Bearer \(mailboxes.alice.token)")
    }.text
    #expect(text.hasPrefix("HTTP/1.1 400 "))
    let twice = try await answers { mailboxes in
      get("/v1/messages/%252e%252e", "Authorization: Bearer \(mailboxes.alice.token)")
    }.text
    #expect(twice.hasPrefix("HTTP/1.1 404 "))
  }

  /// Nothing here takes a body.
  @Test func largeBodiesAreRefused() async throws {
    let fields = "POST /livez HTTP/1.1\r\nHost: x\r\n"
    for large in ["Content-Length: 65537\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n10001\r\n"] {
      #expect(try await answers { _ in fields + large }.text.hasPrefix("HTTP/1.1 413 "))
    }
    let small = try await answers { _ in
      fields + "Connection: close\r\nContent-Length: 65536\r\n\r\n" + String(repeating: "a", count: 65_536)
    }.text
    #expect(small.hasPrefix("HTTP/1.1 405 "))
  }

  @Test func headHasNoBody() async throws {
    let text = try await answers { _ in "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }.text
    #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(text.contains("\r\nContent-Length: 13\r\n"))
    #expect(text.hasSuffix("\r\n\r\n"))
  }
}

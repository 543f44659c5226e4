import Synchronization
import Testing

@testable import Network

/// HTTP on a socket.
@Suite(.timeLimit(.minutes(1))) struct HTTPSessionTests {
  /// Serves with `limits`: `/large` answers 50 MB, everything else what was asked for.
  private func serving(
    _ change: (inout HTTPLimits) -> Void = { _ in },
    _ body: @Sendable (EventLoop, Server) async throws -> Void
  ) async throws {
    var limits = HTTPLimits()
    change(&limits)
    let fixed = limits
    try await withServer { connection in
      var session = HTTPSession(fixed) { request in
        request.path == "/large"
          ? HTTPResponse(200, body: [UInt8](repeating: 65, count: 50_000_000))
          : HTTPResponse(
            200, fields: [("X-Echo", "a\r\nX-Evil: b")],
            body: Array("\(request.method) \(request.path) \(request.body.count)\n".utf8))
      }
      await session.run(connection)
    } _: { loop, server in
      try await body(loop, server)
    }
  }

  /// Sends `text` and returns everything up to the server's end, less the fields that change.
  private func answers(_ text: String, _ loop: EventLoop, _ server: Server) async throws -> String {
    let client = try await Connection.connect(to: server.address, on: loop)
    defer { client.close() }
    try await client.write(text)
    try await client.flush()
    return try await client.readAll()
  }

  @Test func answersComeInOrderAndARefusalIsTheLast() async throws {
    try await serving { loop, server in
      let get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
      let text = try await answers(
        get + "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
          + "GET /d HTTP/1.1\nHost: x\r\n\r\n" + get, loop, server)
      #expect(text.matches(of: /HTTP\/1\.1 (\d+)/).map(\.1) == ["200", "200", "200", "400"])
      #expect(text.contains("\r\n\r\nGET /a 0\nHTTP/1.1 200"))
      #expect(text.contains("Content-Length: 10\r\n") && !text.contains("HEAD /b"))
      #expect(text.contains("\r\n\r\nPOST /c 2\nHTTP/1.1 400"))
      #expect(text.contains("\r\nX-Echo: aX-Evil: b\r\n") && !text.contains("\nX-Evil"))
    }
  }

  @Test func clientsThatWaitAreToldToContinue() async throws {
    try await serving { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
      try await client.flush()
      try await client.expectLine("HTTP/1.1 100 Continue")
      try await client.expectLine("")
      try await client.write("abcGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      try await client.flush()
      #expect(try await client.readAll().contains("POST /a 3\n"))
      // Not if the body is refused in any case.
      let refused = try await answers(
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n", loop, server)
      #expect(refused.hasPrefix("HTTP/1.1 413 "))
    }
  }

  /// A byte now and then keeps nothing open: neither the head nor the body, in whichever coding.
  @Test(arguments: [
    "GET /a HTTP/1.1\r\nHost: x\r\nX: ", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n50000\r\n", "G",
  ])
  func drippingClientsAreSentAway(_ start: String) async throws {
    try await serving {
      $0.headTime = .milliseconds(100)
      $0.bodyTime = .milliseconds(100)
    } _: { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write(start)
      for _ in 0..<1000 where !client.peerHasClosed {
        try await client.write("x")
        try await client.flush()
        try await loop.sleep(for: .milliseconds(10))
      }
      #expect(client.peerHasClosed)
      try await client.expectLine("HTTP/1.1 408 Request Timeout")
    }
  }

  @Test func idleClientsAreSentAwayWithoutAWord() async throws {
    try await serving {
      $0.idleTime = .milliseconds(50)
    } _: { loop, server in
      #expect(try await answers("", loop, server) == "")
      let text = try await answers("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", loop, server)
      #expect(text.hasPrefix("HTTP/1.1 200 ") && !text.contains("408"))
    }
  }

  @Test func aClientHasOnlySoManyConnections() async throws {
    try await serving {
      $0.clients = ClientCounter(limit: 1, countsLoopback: true)
    } _: { loop, server in
      let get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
      let first = try await Connection.connect(to: server.address, on: loop)
      try await first.write(get)
      try await first.expectLine("HTTP/1.1 200 OK")
      let refused = try await answers(get, loop, server)
      #expect(refused.hasPrefix("HTTP/1.1 429 Too Many Requests\r\n"))
      first.close()
      try await eventually("the place is free", on: loop) { server.connections == 0 }
      let last = try await answers("GET /a HTTP/1.0\r\n\r\n", loop, server)
      #expect(last.hasPrefix("HTTP/1.1 200 "))
    }
  }

  @Test func aClientThatNeverReadsIsSentAway() async throws {
    try await serving {
      $0.writeTime = .milliseconds(50)
    } _: { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET /a HT")
      try await client.flush()
      try await eventually("it is served", on: loop) { server.connections != 0 }
      try await eventually("it is given up", on: loop) { server.connections == 0 }
      #expect(!(try await client.readAll()).contains("408"))  // nothing in the middle of an answer
    }
  }

  /// Many requests in one piece do not keep the loop from everybody else.
  @Test func pipelinedRequestsLetOthersHaveTheirTurn() async throws {
    let answered = Atomic<Int>(0)
    let before = Atomic<Int>(-1)
    try await withServer { connection in
      let loop = connection.loop
      var session = HTTPSession { _ in
        if answered.add(1, ordering: .relaxed).oldValue == 0 {
          loop.execute { before.store(answered.load(ordering: .relaxed), ordering: .relaxed) }
        }
        return HTTPResponse(200)
      }
      await session.run(connection)
    } _: { loop, server in
      let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      let text = String(repeating: get, count: 99) + "GET / HTTP/1.0\r\n\r\n"
      let all = try await answers(text, loop, server)
      #expect(all.matches(of: /HTTP\/1\.1 200/).count == 100)
      #expect((1...20).contains(before.load(ordering: .relaxed)))
    }
  }
}

import Glibc
import Linux
import Synchronization
import Testing

@testable import Network

@Suite(.timeLimit(.minutes(1))) struct ServerTests {
  @Test func addressesAreParsedAndWritten() throws {
    for text in ["127.0.0.1:25", "[::1]:8080", "0.0.0.0:0", "[2001:db8::1]:65535"] {
      #expect(try SocketAddress(parsing: text).description == text)
    }
    #expect(try SocketAddress(parsing: "localhost:25").description == "127.0.0.1:25")
    for text in [
      "", ":", "25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:+01",
      "127.0.0.1\0:25", "::1:25", "[::1]",
      "[127.0.0.1]:25", "example.com:25", "127.0.0.1:25 ", "127.1:25", "[fe80::1%eth0]:25", "[]:1",
    ] {
      #expect(throws: NetworkError.invalidAddress(text)) { try SocketAddress(parsing: text) }
    }
  }

  @Test func loopbackIsRecognised() {
    #expect(IPAddress("::ffff:192.0.2.1")?.description == "192.0.2.1")
    #expect(IPAddress("127.8.9.1")?.isLoopback == true)
    #expect(IPAddress("::1")?.isLoopback == true)
    #expect(IPAddress("::ffff:127.0.0.1")?.isLoopback == true)
    #expect(IPAddress("128.0.0.1")?.isLoopback == false)
    #expect(IPAddress("::2")?.isLoopback == false)
  }

  @Test func aPortInUseIsNamedWithAHint() async throws {
    try await withLoop { loop in
      let first = try Listener(address: .freePort, loop: loop)
      #expect(first.address.port != 0)
      #expect {
        try Server(address: first.address, loops: [loop]) { _ in }
      } throws: { error in
        guard case .cannotListen(let failure) = error as? NetworkError else { return false }
        return failure.code == EADDRINUSE && failure.address == first.address.description
          && failure.text == "Address already in use" && failure.hint.contains("sport = :\(first.address.port)")
      }
      await loop.run { first.close() }
      let second = try Listener(address: first.address, loop: loop)
      await loop.run { second.close() }
    }
  }

  @Test func acceptingPausesWhileDescriptorsAreShort() async throws {
    try await withLoop { loop in
      let calls = Atomic<Int>(0)
      let listener = try Listener(address: .freePort, loop: loop) { descriptor throws(Errno) in
        // Short for the first three calls, as if the limit were reached, then as usual.
        guard calls.add(1, ordering: .relaxed).newValue > 3 else { throw Errno(code: EMFILE) }
        return try acceptSocket(from: descriptor)
      }
      let accepted = Event<Void>()
      try await loop.run {
        try listener.start { socket in
          _ = Glibc.close(socket.descriptor)
          accepted.send(())
        }
        let begin = loop.now
        let client = try await Connection.connect(to: listener.address, on: loop)
        defer { client.close() }
        _ = await accepted.next()
        #expect(loop.now - begin >= 250)  // three pauses of 100 ms, no spinning
        #expect(calls.load(ordering: .relaxed) <= 6)
        listener.close()
      }
    }
  }

  /// Clients must not take the descriptors that accepting a message needs.
  @Test func theLastDescriptorsAreKeptForOthers() async throws {
    try await withLoop { loop in
      let limit = Atomic<Int>(0)
      let listener = try Listener(address: .freePort, loop: loop, limit: { limit.load(ordering: .relaxed) })
      let accepted = Event<Void>()
      try await loop.run {
        try listener.start { socket in
          limit.store(Int(socket.descriptor) + Listener.reserve(of: .max), ordering: .relaxed)
          _ = Glibc.close(socket.descriptor)
          accepted.send(())
        }
        let early = try await Connection.connect(to: listener.address, on: loop)
        #expect(try await early.readAll() == "")
        early.close()
        limit.store(.max, ordering: .relaxed)
        let client = try await Connection.connect(to: listener.address, on: loop)
        _ = await accepted.next()  // not the early one: it was closed before anybody saw it
        client.close()
        let late = try await Connection.connect(to: listener.address, on: loop)
        #expect(try await late.readAll() == "")
        late.close()
        listener.close()
      }
    }
    #expect(Listener.reserve(of: 1024) == 64)
    #expect(Listener.reserve(of: 40) == 10)
  }

  @Test func connectionsBeyondTheLimitWaitForAPlace() async throws {
    try await withServer(maxConnections: 1, handler: ConnectionTests.echoLines) { loop, server in
      let first = try await Connection.connect(to: server.address, on: loop)
      try await first.write("a\r\n")
      try await first.expectLine("a")
      let second = try await Connection.connect(to: server.address, on: loop)
      try await second.write("b\r\n")
      try await second.flush()
      second.readTimeout = .milliseconds(50)
      #expect(await caught { () async throws(NetworkError) in _ = try await second.fill() } == .timedOut(.read))
      #expect(server.connections == 1)
      first.close()
      second.readTimeout = .seconds(30)
      try await second.expectLine("b")
      second.close()
    }
  }

  @Test func connectionsBeyondTheLimitAreToldSo() async throws {
    try await withServer(
      maxConnections: 1, refusal: Array("421 busy\r\n".utf8), handler: ConnectionTests.echoLines
    ) { loop, server in
      let first = try await Connection.connect(to: server.address, on: loop)
      try await first.write("a\r\n")
      try await first.expectLine("a")
      let second = try await Connection.connect(to: server.address, on: loop)
      #expect(try await second.readAll() == "421 busy\r\n")
      second.close()
      first.close()
    }
  }

  @Test func shutdownGoesFromIdleToCancelledToClosed() async throws {
    let log = Event<String>()
    let handler: Server.Handler = { connection in
      let kind = (try? await connection.readLine(limit: 10)).map { String(decoding: $0, as: UTF8.self) } ?? ""
      try? await connection.write("ready\r\n")
      switch kind {
      case "idle":
        let error = await caught { () async throws(NetworkError) in
          _ = try await connection.readLine(limit: 9, idle: true)
        }
        log.send("idle \(error == .shuttingDown)")
      case "busy":
        let error = await caught { () async throws(NetworkError) in _ = try await connection.readLine(limit: 9) }
        log.send("busy \(error == .cancelled)")
      default:  // deaf: goes on reading, but not if the connection is closed
        try? await connection.flush()
        var error: NetworkError?
        repeat {
          error = await Task { [loop = connection.loop] in
            await caught { () async throws(NetworkError) in try await loop.sleep(for: .milliseconds(5)) }
          }.value
        } while connection.isOpen && error == nil
        log.send("deaf \(!connection.isOpen)")
      }
    }
    try await withLoop { loop in
      let second = try EventLoop()
      defer { second.stop() }
      let server = try Server(address: .freePort, loops: [loop, second], handler: handler)
      try await server.start()
      try await loop.run {
        var clients: [Connection] = []
        for kind in ["idle", "busy", "deaf"] {
          let client = try await Connection.connect(to: server.address, on: loop)
          try await client.write("\(kind)\r\n")
          try await client.expectLine("ready")
          clients.append(client)
        }
        #expect(server.connections == 3)
        async let stopped: Void = server.shutdown(draining: .milliseconds(300), deadline: .milliseconds(900))
        #expect(await log.next() == "idle true")
        #expect(await log.next() == "busy true")
        #expect(await log.next() == "deaf true")
        await stopped
        #expect(server.connections == 0)
        let late = await caught { () async throws(NetworkError) in
          _ = try await Connection.connect(to: server.address, on: loop)
        }
        #expect(late == .system(.connect, code: ECONNREFUSED, text: "Connection refused"))
        for client in clients { client.close() }
      }
    }
  }

  @Test func signalsAreReadOnTheLoop() async throws {
    // SIGURG does nothing by default, so the other tests do not mind it.
    try await withLoop { loop in
      let waiter = try SignalWaiter([SIGURG], on: loop)
      let cancelled = Task { await waiter.next() }
      cancelled.cancel()
      #expect(await cancelled.value == nil)
      await loop.run {
        SignalWaiter.block([SIGURG])
        // To this thread: another one, which does not block it, would swallow a signal of the process.
        pthread_kill(pthread_self(), SIGURG)
      }
      #expect(await loop.run { await waiter.next() } == SIGURG)
      waiter.close()
      #expect(await waiter.next() == nil)
    }
  }

  /// The loop's thread's time in milliseconds.
  private static func threadTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }

  @Test func signalsThatNobodyTakesCostNothing() async throws {
    try await withLoop { loop in
      let waiter = try SignalWaiter([SIGURG], on: loop)
      defer { waiter.close() }
      try await loop.run {
        SignalWaiter.block([SIGURG])
        for _ in 0..<70 {
          pthread_kill(pthread_self(), SIGURG)
          try await loop.sleep(for: .milliseconds(1))
        }
        let before = Self.threadTime()
        try await loop.sleep(for: .milliseconds(200))
        #expect(Self.threadTime() - before < 100)
      }
    }
  }
}

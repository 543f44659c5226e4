import Mail
import Network
import Pipeline
import SMTPGateway
import Testing

/// The gateway over real sockets.
@Suite(.timeLimit(.minutes(1))) struct GatewayTests {
  @Test func oneMail() async throws {
    try await withGateway { fixture in
      let client = try await fixture.connect()
      try await client.announce()
      try await client.send("Subject: x\r\n\r\n..\r\n")
      try await client.say(".", "250 2.0.0 Ok: queued as ID1")
      try await client.say("QUIT", "221 2.0.0")
      try await client.expectEnd()
      let mail = try #require(fixture.acceptor.mails.first)
      #expect(mail.content == Array("Subject: x\r\n\r\n.\r\n".utf8))
      #expect(mail.remoteAddress == "127.0.0.1")
      #expect(mail.recipients.map(\.description) == ["b@example.com"])
      #expect(
        fixture.metrics.snapshot.map { "\($0.name) \($0.value)" } == [
          "mailflow_smtp_connections_total 1", "mailflow_smtp_messages_total{result=\"accepted\"} 1",
        ])
    }
  }

  @Test func anythingInOneWrite() async throws {
    try await withGateway { fixture in
      let client = try await fixture.connect()
      let recipients = (0..<500).map { "RCPT TO:<user\($0)@example.com>\r\n" }.joined()
      let body = String(repeating: String(repeating: "x", count: 76) + "\r\n", count: 1000)
      try await client.send("EHLO c\r\nMAIL FROM:<>\r\n\(recipients)DATA\r\n\(body).\r\nQUIT\r\n")
      let replies = try await collect(client)
      #expect(replies.count == 506)
      #expect(replies.suffix(3).map { $0.prefix(3) } == ["354", "250", "221"])
      #expect(fixture.acceptor.mails.map(\.recipients.count) == [500])
      #expect(fixture.acceptor.mails.map(\.content.count) == [78_000])
    }
  }

  private func collect(_ client: Client) async throws -> [String] {
    var replies: [String] = []
    while let reply = try await client.reply() { replies.append(reply) }
    client.connection.close()
    return replies
  }

  @Test func aMessageByteByByte() async throws {
    try await withGateway { fixture in
      let client = try await fixture.connect()
      try await client.announce()
      for byte in "a\r\n..b\r\n.\r\n".utf8 {
        try await client.connection.write([byte])
        try await client.connection.flush()
        await Task.yield()
      }
      try await client.expect("250 2.0.0")
      #expect(fixture.acceptor.mails.first?.content == Array("a\r\n.b\r\n".utf8))
      client.connection.close()
    }
  }

  @Test func refusals() async throws {
    try await withGateway {
      $0.maximumMessageSize = 2000
    } _: { fixture in
      let client = try await fixture.connect()
      try await client.expect("220 ")
      try await client.say("EHLO c", "250-mx.example.com|250-SIZE 2000|")
      try await client.say("MAIL FROM:<a@b.c> SIZE=2001", "552 5.3.4")
      try await client.say("MAIL FROM:<a@b.c>", "250 ")
      try await client.say("RCPT TO:<nobody@example.com>", "550 5.1.1")
      try await client.say("RCPT TO:<x@elsewhere.example>", "550 5.7.1")
      try await client.say("RCPT TO:<away@example.com>", "451 4.3.0")
      try await client.say("DATA", "554 5.5.1")
      try await client.say("RCPT TO:<postmaster>", "250 2.1.5")
      for (answer, reply) in [
        (AcceptResult.unavailable, "451 4.3.0"), (.storageFull, "452 4.3.1"),
        (.refused(SMTPReply(550, "5.7.1", "no")), "550 5.7.1 no"),
        (.accepted(id: "yes"), "250 2.0.0 Ok: queued as yes"),
      ] {
        fixture.acceptor.answer(answer)
        try await client.say("RSET", "250 ")
        try await client.say("MAIL FROM:<a@b.c>", "250 ")
        try await client.say("RCPT TO:<postmaster>", "250 2.1.5")
        try await client.say("DATA", "354 ")
        try await client.say("x\r\n.", reply)
      }
      #expect(fixture.acceptor.mails.map { $0.recipients.map(\.description) } == [["postmaster@example.com"]])
      try await client.say("MAIL FROM:<a@b.c>", "250 ")
      try await client.say("RCPT TO:<b@example.com>", "250 2.1.5")
      try await client.say("DATA", "354 ")
      try await client.say(String(repeating: "x", count: 2001) + "\r\n.", "552 5.3.4")
      client.connection.close()
    }
  }

  @Test func slowClientsAreSentAway() async throws {
    try await withGateway {
      $0.timeLimits.command = .milliseconds(100)
      $0.timeLimits.dataStart = .milliseconds(100)
      $0.timeLimits.dataBlock = .milliseconds(100)
    } _: { fixture in
      let idle = try await fixture.connect()
      try await idle.expect("220 ")
      try await idle.expect("421 4.4.2")
      try await idle.expectEnd()
      let silent = try await fixture.connect()
      try await silent.announce()
      try await silent.expect("421 4.4.2")
      try await silent.expectEnd()
      let stuck = try await fixture.connect()
      try await stuck.announce()
      try await stuck.send("half")
      try await stuck.expect("421 4.4.2")
      try await stuck.expectEnd()
      #expect(fixture.acceptor.mails.isEmpty)
    }
  }

  /// A client that drips is not kept for ever, however regularly it does so.
  @Test func drippingClientsAreSentAway() async throws {
    try await withGateway {
      $0.timeLimits.command = .milliseconds(200)
      $0.timeLimits.message = .milliseconds(300)
    } _: { fixture in
      let commands = try await fixture.connect()
      try await commands.expect("220 ")
      try await drip(commands)
      let data = try await fixture.connect()
      try await data.announce()
      try await drip(data)
    }
  }

  /// Sends a byte every few milliseconds until there is an answer, which must be a time-out.
  private func drip(_ client: Client) async throws {
    client.connection.readTimeout = .milliseconds(20)
    while true {
      try await client.send("x")
      do {
        try await client.expect("421 4.4.2")
        break
      } catch NetworkError.timedOut {}
    }
    client.connection.close()
  }

  @Test func shutdownSendsIdleClientsAway() async throws {
    try await withGateway { fixture in
      var clients: [Client] = []
      for text in ["", "EHLO c\r\n", "EHLO c\r\nMAIL FROM:<a@b.c>\r\n", "EHL"] {
        let client = try await fixture.connect()
        try await client.expect("220 ")
        try await client.send(text)
        if text.hasPrefix("EHLO") { try await client.expect("250") }
        if text.contains("MAIL") { try await client.expect("250") }
        clients.append(client)
      }
      async let stopped: Void = fixture.gateway.shutdown(draining: .seconds(30), deadline: .seconds(40))
      for client in clients {
        try await client.expect("421 4.3.2")
        try await client.expectEnd()
      }
      await stopped
      #expect(fixture.gateway.connections == 0)
    }
  }

  @Test func shutdownLetsAMessageArrive() async throws {
    try await withGateway { fixture in
      let client = try await fixture.connect()
      try await client.announce()
      try await client.send("half ")
      let idle = try await fixture.connect()
      try await idle.expect("220 ")
      async let stopped: Void = fixture.gateway.shutdown(draining: .seconds(30), deadline: .seconds(40))
      try await idle.expect("421 4.3.2")  // the shutdown has begun
      try await idle.expectEnd()
      try await client.send("and half\r\n")
      try await client.say(".", "250 2.0.0")
      try await client.expect("421 4.3.2")
      try await client.expectEnd()
      await stopped
      #expect(fixture.acceptor.mails.map(\.content) == [Array("half and half\r\n".utf8)])
    }
  }

  @Test func shutdownCutsOffAtItsDeadline() async throws {
    try await withGateway { fixture in
      let client = try await fixture.connect()
      try await client.announce()
      try await client.send("half ")
      async let stopped: Void = fixture.gateway.shutdown(draining: .milliseconds(50), deadline: .seconds(40))
      try await client.expect("421 4.3.2")
      try await client.expectEnd()
      await stopped
      #expect(fixture.acceptor.mails.isEmpty)
    }
  }

  @Test func shutdownWaitsForTheAcceptor() async throws {
    try await withGateway { fixture in
      fixture.acceptor.hold()
      let client = try await fixture.connect()
      try await client.announce()
      try await client.send("x\r\n.\r\n")
      await fixture.acceptor.arrival()
      let idle = try await fixture.connect()
      try await idle.expect("220 ")
      async let stopped: Void = fixture.gateway.shutdown(draining: .milliseconds(50), deadline: .seconds(40))
      try await idle.expect("421 4.3.2")
      try await idle.expectEnd()
      fixture.acceptor.release()
      try await client.expect("250 2.0.0")
      try await client.expect("421 4.3.2")
      try await client.expectEnd()
      await stopped
    }
  }

  @Test func aClientThatGoesInTheMiddleLeavesNothing() async throws {
    try await withGateway { fixture in
      for text in ["EHLO", "x\r\n", "half"] {
        let client = try await fixture.connect()
        try await client.announce()
        try await client.send(text)
        try await client.connection.finishWriting()
        try await client.expectEnd()
      }
      #expect(fixture.acceptor.mails.isEmpty)
    }
  }

  @Test func connectionsAreLimited() async throws {
    try await withGateway {
      $0.maximumConnections = 2
    } _: { fixture in
      let first = try await fixture.connect()
      try await first.expect("220 ")
      let second = try await fixture.connect()
      try await second.expect("220 ")
      let third = try await fixture.connect()
      try await third.expect("421 4.7.0")
      try await third.expectEnd()
      try await first.say("QUIT", "221 ")
      try await first.expectEnd()
      second.connection.close()
    }
  }

  @Test func memoryIsLimited() async throws {
    try await withGateway {
      $0.maximumMemory = 100_000
    } _: { fixture in
      let big = try await fixture.connect()
      try await big.announce()
      let line = String(repeating: "x", count: 998) + "\r\n"
      for _ in 0..<150 { try await big.send(line) }
      try await big.say(".", "452 4.3.1")
      // What was refused has given its memory back, as has what was taken.
      for _ in 0..<5 {
        try await big.say("MAIL FROM:<>", "250")
        try await big.say("RCPT TO:<b@example.com>", "250")
        try await big.say("DATA", "354")
        for _ in 0..<90 { try await big.send(line) }
        try await big.say(".", "250 2.0.0")
      }
      let other = try await fixture.connect()
      try await other.announce()
      for _ in 0..<90 { try await other.send(line) }
      other.connection.close()
      big.connection.close()
    }
  }

  @Test func manyAtATime() async throws {
    try await withGateway { fixture in
      var clients: [Client] = []
      for _ in 0..<200 { clients.append(try await fixture.connect()) }
      for client in clients { try await client.announce() }
      #expect(fixture.gateway.connections == 200)
      for (index, client) in clients.enumerated() { try await client.send("mail \(index)\r\n.\r\n") }
      for client in clients { try await client.expect("250 2.0.0") }
      for client in clients { try await client.say("QUIT", "221 ") }
      for client in clients { try await client.expectEnd() }
      let contents = fixture.acceptor.mails.map { String(decoding: $0.content, as: UTF8.self) }
      #expect(Set(contents) == Set((0..<200).map { "mail \($0)\r\n" }))
    }
  }

  @Test func aBadAddressIsNamed() throws {
    let loop = try EventLoop()
    defer { loop.stop() }
    var options = SMTPGatewayOptions()
    options.listen = "nowhere"
    #expect(throws: NetworkError.invalidAddress("nowhere")) {
      try SMTPGateway(
        options, hostname: "mx.example.com", loops: [loop], directory: FakeDirectory(), acceptor: FakeAcceptor(),
        clock: SystemClock.shared, log: Log(clock: SystemClock.shared) { _ in })
    }
  }
}

import Mail
import Network
import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import SMTPGateway

/// What a client may do in a time, delays for those that make errors, and clients behind load balancers.
@Suite(.timeLimit(.minutes(1))) struct LimitTests {
  // MARK: By the session alone

  private final class Few: SMTPAllowance {
    private let left: Mutex<(messages: Int, recipients: Int)>
    init(messages: Int, recipients: Int) { left = Mutex((messages, recipients)) }
    func takeMessage(at now: Timestamp) -> Bool {
      left.withLock { left in
        left.messages -= 1
        return left.messages >= 0
      }
    }
    func takeRecipient(at now: Timestamp) -> Bool {
      left.withLock { left in
        left.recipients -= 1
        return left.recipients >= 0
      }
    }
  }

  @Test func whatIsTooMuchIsPutOff() {
    var talk = Conversation(allowance: Few(messages: 2, recipients: 3))
    talk.greet()
    talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<nobody@example.com>\r\n")
    talk.send("RCPT TO:<c@example.com>\r\nRCPT TO:<d@example.com>\r\nDATA\r\nx\r\n.\r\n")
    talk.send("MAIL FROM:<a@b.c>\r\nRSET\r\nMAIL FROM:<a@b.c>\r\nQUIT\r\n")
    #expect(talk.codes == [220, 250, 250, 250, 550, 250, 450, 354, 250, 250, 250, 450, 221])
    #expect(talk.mails.map { $0.recipients.map(\.description) } == [["b@example.com", "c@example.com"]])
    #expect(talk.session.errors == 1)  // to be put off is no error
  }

  @Test func aConnectionHasSoManyMessages() {
    var talk = Conversation { $0.maximumMessages = 2 }
    talk.greet()
    for _ in 0..<2 { talk.send("MAIL FROM:<a@b.c>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n") }
    talk.send("NOOP\r\nMAIL FROM:<a@b.c>\r\n")
    #expect(talk.codes.suffix(2) == [250, 421])
    #expect(talk.isClosed)
    #expect(talk.mails.count == 2)
  }

  @Test func errorsAreAnsweredLate() {
    var talk = Conversation { $0.tarpit?.free = 2 }
    let start = talk.now
    talk.send("X\r\nX\r\n")
    #expect(talk.session.takeDelay() == .zero)
    talk.send("X\r\n")
    #expect(talk.session.deadline == start + .milliseconds(300_500))
    #expect(talk.session.takeDelay() == .milliseconds(500))
    #expect(talk.session.takeDelay() == .zero)
    talk.send("X\r\nX\r\n")  // together
    #expect(talk.session.takeDelay() == .seconds(3))
    talk.send("X\r\nX\r\nX\r\nX\r\nX\r\n")
    #expect(talk.session.takeDelay() == .seconds(10))
    talk.send("NOOP\r\n")
    #expect(talk.session.takeDelay() == .zero)
  }

  // MARK: Over sockets

  @Test func aDelayIsWaitedFor() async throws {
    let clock = ManualClock()
    try await withGateway(
      {
        $0.limitsLoopback = true
        $0.tarpit?.free = 1
      }, clock: clock
    ) { fixture in
      let client = try await fixture.connect()
      try await client.expect("220 ")
      try await client.say("X", "500 ")
      for delay in [500, 1000] {
        try await client.send("X\r\n")
        while clock.nextDeadline == nil { await Task.yield() }
        #expect(clock.nextDeadline == clock.now + .milliseconds(delay))
        client.connection.readTimeout = .milliseconds(30)
        await #expect(throws: NetworkError.timedOut(.read)) { try await client.reply() }
        client.connection.readTimeout = .seconds(30)
        clock.advance(by: .milliseconds(delay))
        try await client.expect("500 ")
      }
      client.connection.close()
    }
  }

  /// Those who would wait beyond a quarter of all connections are sent away: waiting costs us, too.
  @Test func notAllMayWait() async throws {
    let clock = ManualClock()
    try await withGateway(
      {
        $0.limitsLoopback = true
        $0.tarpit?.free = 0
        $0.maximumConnections = 4
      }, clock: clock
    ) { fixture in
      let waiting = try await fixture.connect()
      try await waiting.expect("220 ")
      try await waiting.send("X\r\n")
      while clock.nextDeadline == nil { await Task.yield() }
      let other = try await fixture.connect()
      try await other.expect("220 ")
      try await other.say("X", "500 ")
      try await other.expect("421 4.7.0")
      try await other.expectEnd()
      clock.advance(by: .seconds(1))
      try await waiting.expect("500 ")
      waiting.connection.close()
      #expect(fixture.metrics.snapshot.contains { $0.name == "mailflow_smtp_delays_total" && $0.value == 1 })
    }
  }

  @Test func connectionsOfATimeAreLimited() async throws {
    let clock = ManualClock()
    try await withGateway(
      {
        $0.limitsLoopback = true
        $0.connectionsPerMinute = 2
      }, clock: clock
    ) { fixture in
      for greeting in ["220 ", "220 ", "421 4.7.0 Too many connections from your address"] {
        let client = try await fixture.connect()
        try await client.expect(greeting)
        client.connection.close()
      }
      clock.advance(by: .seconds(30))
      let client = try await fixture.connect()
      try await client.expect("220 ")
      client.connection.close()
    }
  }

  @Test func loopbackHasNoLimits() async throws {
    try await withGateway {
      ($0.connectionsPerMinute, $0.messagesPerMinute, $0.maximumConnectionsPerAddress) = (1, 1, 1)
      $0.tarpit?.free = 0
    } _: { fixture in
      for _ in 0..<2 {
        let client = try await fixture.connect()
        try await client.expect("220 ")
        try await client.say("X", "500 ")
        try await client.say("EHLO c", "250-")
        try await client.say("MAIL FROM:<a@b.c>", "250 ")
        client.connection.close()
      }
    }
  }

  // MARK: Behind a load balancer

  private func behindBalancer(
    _ change: (inout SMTPGatewayOptions) -> Void = { _ in }, _ body: @Sendable (GatewayFixture) async throws -> Void
  ) async throws {
    let networks = [IPNetwork("127.0.0.0/8")].compactMap { $0 }
    try await withGateway(
      {
        $0.proxies = networks
        change(&$0)
      }, body)
  }

  @Test func theBalancersClientCounts() async throws {
    try await behindBalancer {
      $0.maximumConnectionsPerAddress = 1
      $0.messagesPerMinute = 1
    } _: { fixture in
      let client = try await fixture.connect()
      // All in one segment: what stands behind the header is the client's.
      try await client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\nEHLO c\r\nMAIL FROM:<a@b.c>\r\n")
      for start in ["220 ", "250-", "250 "] { try await client.expect(start) }
      try await client.say("RCPT TO:<b@example.com>", "250 ")
      try await client.say("DATA", "354 ")
      try await client.say("x\r\n.", "250 ")
      try await client.say("MAIL FROM:<a@b.c>", "450 4.7.1")
      let again = try await fixture.connect()
      try await again.send("PROXY TCP4 192.0.2.7 192.0.2.1 4001 25\r\n")
      try await again.expect("421 4.7.0 Too many connections")
      again.connection.close()
      let other = try await fixture.connect()
      let v2: [UInt8] = [
        13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x21, 0x11, 0, 12, 192, 0, 2, 8, 1, 1, 1, 1, 9, 9, 0, 25,
      ]
      for byte in v2 {
        try await other.connection.write([byte])
        try await other.connection.flush()
      }
      try await other.announce()
      try await other.say("x\r\n.", "250 ")
      #expect(fixture.acceptor.mails.map(\.remoteAddress) == ["192.0.2.7", "192.0.2.8"])
      other.connection.close()
      client.connection.close()
    }
  }

  @Test func aBalancerHasToSay() async throws {
    try await behindBalancer {
      $0.timeLimits.proxyHeader = .milliseconds(100)
    } _: { fixture in
      for start in [
        "EHLO c\r\nMAIL FROM:<a@b.c>\r\n", "PROXY TCP4 x\r\nEHLO c\r\n", "\r\n\r\nEHLO c\r\n", "PROXY ", "",
      ] {
        let client = try await fixture.connect()
        try await client.send(start)
        try await client.expect("421 4.7.0 No PROXY header")
        try await client.expectEnd()
      }
      let probe = try await fixture.connect()
      probe.connection.close()
      let itself = try await fixture.connect()
      try await itself.send("PROXY UNKNOWN\r\n")
      try await itself.announce()
      try await itself.say("x\r\n.", "250 ")
      itself.connection.close()
      #expect(fixture.acceptor.mails.map(\.remoteAddress) == ["127.0.0.1"])
    }
  }

  @Test func nobodyElseMaySay() async throws {
    try await withGateway { fixture in
      for start in ["PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
        let client = try await fixture.connect()
        try await client.send(start + "EHLO c\r\nMAIL FROM:<a@b.c>\r\n")
        try await client.expect("220 ")
        var last: String?
        while let reply = try await client.reply() { last = reply }
        #expect(last?.hasPrefix("421 ") == true)
        client.connection.close()
      }
    }
  }
}

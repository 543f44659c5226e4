import Mail
import Network
import OpenSSL
import Pipeline
import SMTPGateway
import Synchronization
import Testing

/// An acceptor that keeps what it takes; what it answers can be set, and it can be made to wait.
final class FakeAcceptor: MailAcceptor {
  private struct State {
    var mails: [ReceivedMail] = []
    var result: AcceptResult?
    var isHolding = false
    var held: [CheckedContinuation<Void, Never>] = []
    var arrivals: [CheckedContinuation<Void, Never>] = []
    var arrived = 0
  }
  private let state = Mutex(State())

  var mails: [ReceivedMail] { state.withLock { $0.mails } }
  func answer(_ result: AcceptResult?) { state.withLock { $0.result = result } }
  func hold() { state.withLock { $0.isHolding = true } }

  func release() {
    let held = state.withLock { state in
      state.isHolding = false
      defer { state.held = [] }
      return state.held
    }
    for continuation in held { continuation.resume() }
  }

  /// Returns once a mail has been handed in.
  func arrival() async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        guard state.arrived == 0 else { return true }
        state.arrivals.append(continuation)
        return false
      }
      if isThere { continuation.resume() }
    }
  }

  func accept(_ mail: ReceivedMail) async -> AcceptResult {
    let waiting = state.withLock { state in
      state.arrived += 1
      defer { state.arrivals = [] }
      return state.arrivals
    }
    for continuation in waiting { continuation.resume() }
    await withCheckedContinuation { continuation in
      let waits = state.withLock { state in
        if state.isHolding { state.held.append(continuation) }
        return state.isHolding
      }
      if !waits { continuation.resume() }
    }
    return state.withLock { state in
      let result = state.result ?? .accepted(id: "ID\(state.mails.count + 1)")
      if case .accepted = result { state.mails.append(mail) }
      return result
    }
  }
}

/// The directory of the conversations, asked asynchronously.
struct FakeDirectory: RecipientDirectory {
  func resolve(_ address: EmailAddress) async -> RecipientStatus {
    await Task.yield()
    return Conversation.usualDirectory(address)
  }
}

/// A gateway on a free port and the loop that its clients use too.
struct GatewayFixture: Sendable {
  let gateway: SMTPGateway
  let acceptor: FakeAcceptor
  let loop: EventLoop
  let metrics: Metrics

  func connect() async throws(NetworkError) -> Client {
    Client(try await Connection.connect(to: gateway.address, on: loop))
  }

  /// A client whose first byte is TLS.
  func connectTLS() async throws -> Client {
    let connection = try await Connection.connect(to: try #require(gateway.tlsAddress), on: loop)
    try await connection.startTLS(TLSContext.client())
    return Client(connection)
  }
}

/// Runs a test against a gateway that it has to itself.
func withGateway(
  _ change: (inout SMTPGatewayOptions) -> Void = { _ in }, certificate: CertificateFiles? = nil,
  clock: any PipelineClock = SystemClock.shared,
  _ body: @Sendable (GatewayFixture) async throws -> Void
) async throws {
  let loop = try EventLoop()
  defer { loop.stop() }
  var options = SMTPGatewayOptions()
  options.listen = "127.0.0.1:0"
  change(&options)
  let acceptor = FakeAcceptor()
  let metrics = Metrics()
  let gateway = try SMTPGateway(
    options, hostname: "mx.example.com", postmasterDomain: "example.com", loops: [loop], directory: FakeDirectory(),
    acceptor: acceptor, certificate: certificate, clock: clock,
    log: Log(clock: SystemClock.shared) { _ in }, metrics: metrics)
  try await gateway.start()
  let fixture = GatewayFixture(gateway: gateway, acceptor: acceptor, loop: loop, metrics: metrics)
  do {
    try await loop.run { try await body(fixture) }
  } catch {
    acceptor.release()
    await gateway.shutdown(draining: .zero, deadline: .zero)
    throw error
  }
  await gateway.shutdown(draining: .zero, deadline: .seconds(5))
  #expect(gateway.connections == 0)
}

/// A client: sends lines, reads replies.
final class Client {
  let connection: Connection

  init(_ connection: Connection) { self.connection = connection }

  /// The next reply, its lines joined by `|`; nil at the end of the connection.
  func reply() async throws -> String? {
    var lines: [String] = []
    while let line = try await connection.readLine(limit: 1000) {
      lines.append(String(decoding: line, as: UTF8.self))
      if line.count < 4 || line[3] == 32 { return lines.joined(separator: "|") }
    }
    return nil
  }

  func send(_ text: String) async throws {
    try await connection.write(text)
    try await connection.flush()
  }

  /// Sends a line, and expects a reply that begins with `start`.
  func say(_ line: String, _ start: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await send(line + "\r\n")
    try await expect(start, sourceLocation: sourceLocation)
  }

  func expect(_ start: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let reply = try await reply()
    #expect(reply?.hasPrefix(start) == true, "\(reply ?? "the end")", sourceLocation: sourceLocation)
  }

  func expectEnd(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    #expect(try await reply() == nil, sourceLocation: sourceLocation)
    connection.close()
  }

  /// Up to where the message may be sent.
  func announce() async throws {
    try await expect("220 ")
    try await say("EHLO client.example.org", "250-")
    try await say("MAIL FROM:<a@example.org>", "250 2.1.0")
    try await say("RCPT TO:<b@example.com>", "250 2.1.5")
    try await say("DATA", "354 ")
  }
}

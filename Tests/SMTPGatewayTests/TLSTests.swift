import Foundation
import Network
import OpenSSL
import Pipeline
import SMTPGateway
import Testing

/// TLS over real sockets, with OpenSSL as the client.
@Suite(.timeLimit(.minutes(1))) struct TLSTests {
  private func withTLSGateway(
    _ change: (inout SMTPGatewayOptions) -> Void = { _ in }, _ body: @Sendable (GatewayFixture) async throws -> Void
  ) async throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).pem")
    try SelfSignedCertificate.make(names: ["mx.example.com"]).write(to: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(at: file) }
    let certificate = try CertificateFiles(certificate: file.path, key: file.path) { _ in }
    try await withGateway(
      {
        $0.tlsListen = "127.0.0.1:0"
        change(&$0)
      }, certificate: certificate, body)
  }

  private func send(_ client: Client) async throws {
    try await client.say("EHLO client.example.org", "250-mx.example.com|250-SIZE")
    try await client.say("MAIL FROM:<a@example.org>", "250 2.1.0")
    try await client.say("RCPT TO:<b@example.com>", "250 2.1.5")
    try await client.say("DATA", "354 ")
    try await client.say("hello\r\n.", "250 2.0.0")
    try await client.say("QUIT", "221 ")
    try await client.expectEnd()
  }

  @Test func mailComesEncrypted() async throws {
    try await withTLSGateway { fixture in
      let client = try await fixture.connect()
      try await client.expect("220 ")
      try await client.say("EHLO before", "250-")
      try await client.say("STARTTLS", "220 2.0.0")
      try await client.connection.startTLS(TLSContext.client())
      try await send(client)
      let implicit = try await fixture.connectTLS()
      try await implicit.expect("220 mx.example.com ESMTP")
      try await send(implicit)
      #expect(fixture.acceptor.mails.map(\.transmission.name) == ["ESMTPS", "ESMTPS"])
      #expect(fixture.acceptor.mails.map(\.helo) == ["client.example.org", "client.example.org"])
      #expect(fixture.acceptor.mails.first?.transmission.tls?.version == "TLSv1.3")
    }
  }

  /// CVE-2011-0411: in one segment with STARTTLS, and in one of its own before the handshake.
  @Test func nothingIsInjected() async throws {
    try await withTLSGateway { fixture in
      let client = try await fixture.connect()
      try await client.expect("220 ")
      try await client.send("EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@b.c>\r\n")
      try await client.expect("250-")
      try await client.expect("501 5.5.1")
      try await client.expectEnd()
      let later = try await fixture.connect()
      try await later.expect("220 ")
      try await later.say("STARTTLS", "220 ")
      try await later.send("MAIL FROM:<evil@b.c>\r\n")
      while try await later.connection.read() != nil {}  // the alert
      later.connection.close()
      #expect(fixture.metrics.snapshot.contains { $0.name == "mailflow_smtp_tls_failures_total" && $0.value == 1 })
    }
  }

  @Test func handshakesHaveLimitedTime() async throws {
    try await withTLSGateway {
      $0.timeLimits.handshake = .milliseconds(100)
    } _: { fixture in
      let implicit = try await Connection.connect(to: try #require(fixture.gateway.tlsAddress), on: fixture.loop)
      #expect(try await implicit.read() == nil)
      implicit.close()
      let client = try await fixture.connect()
      try await client.expect("220 ")
      try await client.say("STARTTLS", "220 ")
      try await client.expectEnd()
    }
  }

  /// A large message in chunks, by TLS, past a loop that others use too.
  @Test func aLargeMessageInChunks() async throws {
    try await withTLSGateway { fixture in
      let client = try await fixture.connectTLS()
      try await client.expect("220 ")
      try await client.say("EHLO c", "250-")
      try await client.say("MAIL FROM:<a@example.org>", "250 ")
      try await client.say("RCPT TO:<b@example.com>", "250 ")
      let chunk = String(repeating: String(repeating: "x", count: 998) + "\r\n", count: 1000)
      for _ in 0..<8 { try await client.send("BDAT \(chunk.utf8.count)\r\n" + chunk) }
      try await client.send("BDAT 0 LAST\r\n")
      for _ in 0..<8 { try await client.expect("250 2.0.0") }
      try await client.expect("250 2.0.0 Ok: queued")
      client.connection.close()
      #expect(fixture.acceptor.mails.map(\.content.count) == [8_000_000])
    }
  }
}

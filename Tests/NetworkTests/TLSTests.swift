import Foundation
import OpenSSL
import Synchronization
import Testing

@testable import Network

@Suite(.timeLimit(.minutes(1))) struct TLSTests {
  @Test func linesAreEchoed() async throws {
    let certificate = try TestCertificate()
    try await withTLSServer(certificate, handler: ConnectionTests.echoLines) { loop, server, _ in
      let client = try await Connection.connectTLS(to: server, certificate, on: loop)
      defer { client.close() }
      #expect(client.tls?.version == "TLSv1.3")
      #expect(client.tls?.cipher.contains("AES") == true)
      try await client.write("one\r\ntwo\r\n")
      try await client.expectLine("one")
      try await client.expectLine("two")
      // Half closed: what was said before is answered.
      try await client.write("three\r\n")
      try await client.finishWriting()
      #expect(try await client.readAll() == "three\r\n")
    }
  }

  /// 8 MB each way at once, past a reader that waits: nothing is lost, and neither side holds much.
  @Test func muchBothWaysPastASlowReader() async throws {
    let certificate = try TestCertificate()
    let size = 8_000_000
    let largest = Mutex(0)
    let echo: Server.Handler = { connection in
      do throws(NetworkError) {
        while let bytes = try await connection.read() {
          try await connection.write(bytes)
          let held = connection.pending + connection.buffered
          largest.withLock { $0 = max($0, held) }
        }
        await connection.finish(timeout: .seconds(20))
      } catch {}
    }
    try await withTLSServer(certificate, handler: echo) { loop, server, _ in
      let client = try await Connection.connectTLS(to: server, certificate, on: loop)
      defer { client.close() }
      nonisolated(unsafe) let shared = client
      async let sending: Void = {
        for part in 0..<(size / 1000) {
          try await shared.write([UInt8](repeating: UInt8(truncatingIfNeeded: part), count: 1000))
        }
        try await shared.finishWriting()
      }()
      try await loop.sleep(for: .milliseconds(200))  // so that every buffer on the way is full
      var (received, wrong) = (0, 0)
      while let bytes = try await shared.read() {
        for (offset, byte) in bytes.enumerated() where byte != UInt8(truncatingIfNeeded: (received + offset) / 1000) {
          wrong += 1
        }
        received += bytes.count
      }
      try await sending
      #expect(received == size)
      #expect(wrong == 0)
      #expect(largest.withLock { $0 } <= 2 * EventLoop.bufferSize)
    }
  }

  /// CVE-2011-0411: what came in plain is never taken for what came encrypted.
  @Test func nothingBeforeTheHandshakeSurvivesIt() async throws {
    let certificate = try TestCertificate()
    let files = try certificate.open()
    let outcome = Event<NetworkError?>()
    try await withServer { connection in
      _ = try? await connection.readLine(limit: 100)
      try? await connection.write("go\r\n")
      let error = await caught { () async throws(NetworkError) in try await connection.startTLS(files.current) }
      #expect(!connection.isOpen)
      outcome.send(error)
    } _: { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("STARTTLS\r\nEVIL\r\n")
      try await client.expectLine("go")
      #expect(await outcome.next() == .some(.tls("6 bytes in plain before the handshake")))
      #expect(try await client.read() == nil)
    }
  }

  @Test(arguments: [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\nMAIL FROM:<a@b.c>\r\n", String(repeating: "\0", count: 300),
    "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{7f}\u{3}\u{3}" + String(repeating: "a", count: 600),
    "\u{16}\u{3}\u{1}\u{40}\u{1}" + String(repeating: "x", count: 20_000),
  ])
  func whatIsNoTLSIsClosedAtOnce(_ text: String) async throws {
    let certificate = try TestCertificate()
    try await withTLSServer(certificate, handler: { _ in Issue.record("no handshake") }) { loop, server, outcome in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write(text)
      try await client.flush()
      let error = await outcome.next() ?? nil
      if case .tls? = error {} else { Issue.record("\(error.debugDescription)") }
      while try await client.read() != nil {}  // an alert, and no reset before it
    }
  }

  @Test func whoDoesNotShakeHandsHasLimitedTime() async throws {
    let certificate = try TestCertificate()
    let handler: Server.Handler = { _ in Issue.record("no handshake") }
    try await withTLSServer(certificate, timeout: .milliseconds(200), handler: handler) { loop, server, outcome in
      let silent = try await Connection.connect(to: server.address, on: loop)
      #expect(await outcome.next() == .some(.timedOut(.handshake)))
      #expect(try await silent.read() == nil)
      silent.close()
      // A byte now and then does not help.
      let slow = try await Connection.connect(to: server.address, on: loop)
      defer { slow.close() }
      let hello: [UInt8] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]
      for byte in hello + [UInt8](repeating: 7, count: 2000) {
        guard (try? await slow.write([byte])) != nil, (try? await slow.flush()) != nil, !slow.peerHasClosed else {
          break
        }
        try await loop.sleep(for: .milliseconds(5))
      }
      #expect(await outcome.next() == .some(.timedOut(.handshake)))
    }
  }

  @Test func aShutdownDoesNotWaitForAHandshake() async throws {
    let certificate = try TestCertificate()
    try await withTLSServer(certificate, handler: { _ in }) { loop, server, outcome in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await eventually("the session", on: loop) { server.connections == 1 }
      await server.shutdown(draining: .zero, deadline: .seconds(20))
      #expect(await outcome.next() == .some(.cancelled))
    }
  }

  /// Every record of both sides arrives byte by byte.
  @Test func aHandshakeByteByByte() async throws {
    let certificate = try TestCertificate()
    try await withTLSServer(certificate, handler: ConnectionTests.echoLines) { _, server, _ in
      let target = server.address
      let relay: Server.Handler = { front in
        guard let back = try? await Connection.connect(to: target, on: front.loop) else { return }
        nonisolated(unsafe) let (one, other) = (front, back)
        async let there: Void = Self.drip(from: one, to: other)
        await Self.drip(from: other, to: one)
        await there
        back.close()
      }
      try await withServer(handler: relay) { loop, relay in
        let client = try await Connection.connectTLS(to: relay, certificate, on: loop)
        defer { client.close() }
        try await client.write("hello\r\n")
        try await client.expectLine("hello")
        try await client.finishWriting()
        #expect(try await client.read() == nil)
      }
    }
  }

  private static func drip(from source: Connection, to target: Connection) async {
    while let bytes = try? await source.read() {
      for byte in bytes {
        guard (try? await target.write([byte])) != nil, (try? await target.flush()) != nil else { return }
        await Task.yield()
      }
    }
    try? await target.finishWriting()
  }

  @Test func anEndWithoutGoodbyeIsNoticed() async throws {
    let certificate = try TestCertificate()
    let ends = Event<NetworkError?>()
    let handler: Server.Handler = { connection in
      ends.send(await caught { () async throws(NetworkError) in while try await connection.read() != nil {} })
    }
    try await withTLSServer(certificate, handler: handler) { loop, server, outcome in
      let polite = try await Connection.connectTLS(to: server, certificate, on: loop)
      try await polite.write("x")
      await polite.finish()
      #expect(await ends.next() == .some(nil))
      let cut = try await Connection.connectTLS(to: server, certificate, on: loop)
      try await cut.write("x")
      try await cut.flush()
      cut.transport.endWriting()  // the end of TCP without that of TLS
      #expect(await ends.next() == .some(.truncated))
      cut.close()
    }
  }

  @Test func aClientVerifiesWhomItTalksTo() async throws {
    let certificate = try TestCertificate(names: ["mx.example.com", "localhost"])
    let other = try TestCertificate()
    try await withTLSServer(certificate, handler: ConnectionTests.echoLines) { loop, server, _ in
      for (trust, name, isRight) in [
        (certificate, "mx.example.com", true), (certificate, "localhost", true), (certificate, "example.com", false),
        (certificate, "127.0.0.1", false), (other, "localhost", false),
      ] {
        let client = try await Connection.connect(to: server.address, on: loop)
        defer { client.close() }
        let context = try trust.client()
        let error = await caught { () async throws(NetworkError) in
          try await client.startTLS(context, serverName: name)
        }
        #expect(error == (isRight ? nil : .tls("certificate verify failed")), "\(name)")
      }
    }
  }

  @Test(arguments: [(-1, "has expired"), (3, "expires in ")])
  func aCertificateThatEndsIsReported(_ days: Int, _ words: String) throws {
    let certificate = try TestCertificate(days: days)
    _ = try certificate.open()
    #expect(certificate.reports.first?.hasPrefix("the certificate in \(certificate.file) \(words)") == true)
    try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: certificate.file)
    _ = try certificate.open()
    #expect(
      certificate.reports.last == "the key in \(certificate.file) can be read by others: chmod o= \(certificate.file)")
  }

  @Test func aNewCertificateIsTakenAndABrokenOneIsNot() async throws {
    let certificate = try TestCertificate(names: ["old.example"])
    let trusted = try TestCertificate()
    try await withTLSServer(certificate, handler: ConnectionTests.echoLines) { loop, server, _ in
      /// Whether the server shows the certificate that is in the file `trusted`.
      func isShown() async throws -> Bool {
        let client = try await Connection.connect(to: server.address, on: loop)
        defer { client.close() }
        let context = try trusted.client()
        return await caught { () async throws(NetworkError) in
          try await client.startTLS(context, serverName: "new.example")
        } == nil
      }
      #expect(try await !isShown())
      let new = try SelfSignedCertificate.make(names: ["new.example"])
      try trusted.write(new)
      try certificate.write(new)
      // The files are looked at once a second.
      var rounds = 0
      while try await !isShown(), rounds < 500 {
        rounds += 1
        try await loop.sleep(for: .milliseconds(20))
      }
      #expect(certificate.reports == ["the certificate in \(certificate.file) was taken anew"])
      try certificate.write("broken")
      while certificate.reports.count < 2, rounds < 1000 {
        rounds += 1
        #expect(try await isShown())
        try await loop.sleep(for: .milliseconds(20))
      }
      #expect(try await isShown())
      #expect(certificate.reports.last?.contains("the old certificate stays") == true)
    }
  }
}

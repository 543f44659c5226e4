import Foundation
import OpenSSL
import Synchronization
import Testing

@testable import Network

/// A certificate of our own in a file that goes with the last reference.
final class TestCertificate: Sendable {
  let file: String
  private let heard = Mutex<[String]>([])

  init(names: [String] = ["localhost"], days: Int = 3650) throws {
    file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).pem").path
    try write(SelfSignedCertificate.make(names: names, days: days))
  }

  deinit { try? FileManager.default.removeItem(atPath: file) }

  /// What was reported about it.
  var reports: [String] { heard.withLock { $0 } }

  func write(_ text: String) throws {
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
  }

  func open(protocols: [String] = []) throws -> CertificateFiles {
    try CertificateFiles(certificate: file, key: file, protocols: protocols) { [weak self] report in
      self?.heard.withLock { $0.append(report) }
    }
  }

  func client() throws -> TLSContext { try TLSContext.client(trust: file) }
}

/// Runs a test with a server that shakes hands first, and tells what came of it.
func withTLSServer(
  _ certificate: TestCertificate, timeout: Duration = .seconds(20), handler: @escaping Server.Handler,
  _ body: @Sendable (EventLoop, Server, Event<NetworkError?>) async throws -> Void
) async throws {
  let files = try certificate.open()
  let outcome = Event<NetworkError?>()
  try await withServer { connection in
    do throws(NetworkError) {
      try await connection.startTLS(files.current, timeout: timeout)
    } catch { return outcome.send(error) }
    outcome.send(nil)
    await handler(connection)
  } _: { loop, server in
    try await body(loop, server, outcome)
  }
}

extension Connection {
  static func connectTLS(
    to server: Server, _ certificate: TestCertificate, on loop: EventLoop
  ) async throws -> Connection {
    let connection = try await connect(to: server.address, on: loop)
    try await connection.startTLS(certificate.client(), serverName: "localhost")
    return connection
  }
}

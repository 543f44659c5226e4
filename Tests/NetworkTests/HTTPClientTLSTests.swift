import Foundation
import Testing

@testable import Network

/// Whom the HTTP client believes, with OpenSSL's own server on the other side.
@Suite(
  "HTTP client over TLS", .enabled(if: OpenSSLServer.isThere, "needs the command openssl"), .timeLimit(.minutes(1)))
struct HTTPClientTLSTests {
  @Test func onlyACertificateOfATrustedAuthorityForThisNameIsGood() async throws {
    let good = try OpenSSLServer(name: "IP:127.0.0.1")
    let other = try OpenSSLServer(name: "DNS:other.example")
    try await withLoop { loop in
      func status(_ server: OpenSSLServer, trusting file: String?) async -> (Int?, HTTPClient.Failure.Kind?) {
        var options = HTTPClient.Options()
        options.authorities = file
        let client = HTTPClient(loop: loop, options)
        defer { client.close() }
        let request = HTTPClient.Request("GET", "https://127.0.0.1:\(server.port)/")
        do throws(HTTPClient.Failure) { return (try await client.send(request).status, nil) } catch {
          return (nil, error.kind)
        }
      }
      #expect(await status(good, trusting: good.certificate) == (200, nil))
      #expect(await status(good, trusting: nil) == (nil, .tls))
      #expect(await status(good, trusting: other.certificate) == (nil, .tls))
      #expect(await status(other, trusting: other.certificate) == (nil, .tls))
      #expect(await status(good, trusting: "/nowhere.pem") == (nil, .tls))
    }
  }
}

/// `openssl s_server -www` with a certificate that it has signed itself.
private final class OpenSSLServer: Sendable {
  static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl")
  private let folder: URL
  private let process: Process
  let port: Int
  var certificate: String { folder.path + "/cert.pem" }

  init(name: String) throws {
    folder = URL(filePath: NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let request = [
      "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj",
      "/CN=test", "-addext", "subjectAltName=\(name)",
    ]
    try Self.start(request, in: folder).process.waitUntilExit()
    let server = try Self.start(
      ["s_server", "-accept", "127.0.0.1:0", "-www", "-cert", "cert.pem", "-key", "key.pem"], in: folder)
    process = server.process
    // It says: ACCEPT 127.0.0.1:PORT
    var said = ""
    while !said.contains(/ACCEPT .*\n/), let more = String(data: server.output.availableData, encoding: .utf8),
      more != ""
    { said += more }
    port = try #require(said.firstMatch(of: /ACCEPT 127\.0\.0\.1:(\d+)/).flatMap { Int($0.1) }, "\(said)")
  }

  deinit {
    process.terminate()
    try? FileManager.default.removeItem(at: folder)
  }

  private static func start(_ words: [String], in folder: URL) throws -> (process: Process, output: FileHandle) {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/openssl")
    process.arguments = words
    process.currentDirectoryURL = folder
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    process.standardInput = Pipe()
    try process.run()
    return (process, output.fileHandleForReading)
  }
}

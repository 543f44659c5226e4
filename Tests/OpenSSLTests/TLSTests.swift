import Foundation
import OpenSSL
import Testing

@Suite struct TLSTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())")

  private func file(_ name: String, _ text: String) throws -> String {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let file = folder.appendingPathComponent(name)
    try text.write(to: file, atomically: true, encoding: .utf8)
    return file.path
  }

  /// The key and the certificate of a PEM text that has both.
  private func parts(_ pem: String) -> (key: String, certificate: String) {
    let start = pem.range(of: "-----BEGIN CERTIFICATE")?.lowerBound ?? pem.endIndex
    return (String(pem[..<start]), String(pem[start...]))
  }

  @Test func aCertificateOfOurOwnIsForItsNames() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let both = try file("both.pem", try SelfSignedCertificate.make(names: ["mx.example.com", "localhost"]))
    let context = try TLSContext.server(certificate: both, key: both)
    #expect(context.isFor("mx.example.com"))
    #expect(context.isFor("localhost"))
    #expect(!context.isFor("example.com"))
    #expect(context.secondsLeft ?? 0 > 3000 * 86_400)
  }

  @Test func whatIsWrongIsSaid() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let one = parts(try SelfSignedCertificate.make(names: ["a"]))
    let other = parts(try SelfSignedCertificate.make(names: ["b"]))
    let certificate = try file("certificate", one.certificate)
    let key = try file("key", one.key)
    let otherKey = try file("other", other.key)
    // A key that needs a passphrase: OpenSSL must not ask for it at the terminal.
    let locked = try file(
      "locked",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgx\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for (certificate, key, reason) in [
      (certificate, folder.path + "/missing", "cannot read \(folder.path)/missing: No such file or directory"),
      (key, key, "\(key) holds no certificate in PEM form"),
      (certificate, certificate, "\(certificate) holds no private key in PEM form without a passphrase"),
      (certificate, locked, "\(locked) holds no private key in PEM form without a passphrase"),
      (certificate, otherKey, "the key in \(otherKey) is not that of the certificate in \(certificate)"),
    ] {
      let error = #expect(throws: OpenSSLError.self) { try TLSContext.server(certificate: certificate, key: key) }
      #expect(error?.description.hasPrefix(reason) == true, "\(error?.description ?? "")")
    }
    #expect(throws: Never.self) { try TLSContext.server(certificate: certificate, key: key) }
  }
}

import Network
import OpenSSL
import Pipeline
import PipelineCommands

/// The certificates of the gateways.
enum Certificates {
  /// What an option `tls-certificate` means: a file, `self-signed` for one of our own in the data folder, or `none`.
  static func open(
    _ certificate: String, key: String?, hostname: String, protocols: [String] = [], gateway: String,
    _ context: GatewayContext
  ) throws -> CertificateFiles? {
    guard certificate != "none" else { return nil }
    do {
      let file = certificate == "self-signed" ? try selfSigned(for: hostname, in: context.folder) : certificate
      let log = context.log.with(("gateway", gateway))
      return try CertificateFiles(certificate: file, key: key ?? file, protocols: protocols) { log.write(.warning, $0) }
    } catch let error as OpenSSLError {
      throw ServiceError(
        .config, "gateway \(gateway): \(error)",
        hint: "tls-certificate and tls-key name PEM files; self-signed makes one, none does without TLS")
    }
  }

  /// The file with a certificate that we made for `hostname`, now or earlier.
  private static func selfSigned(for hostname: String, in folder: DataFolder) throws -> String {
    let file = "\(folder.path)/self-signed.pem"
    let month = 30 * 86_400
    if let old = try? TLSContext.server(certificate: file, key: file), old.isFor(hostname), old.secondsLeft ?? 0 > month
    {
      return file
    }
    let names = hostname == "localhost" ? [hostname] : [hostname, "localhost"]
    try DataFolder.write(try SelfSignedCertificate.make(names: names), to: file, isDurable: true)
    return file
  }
}

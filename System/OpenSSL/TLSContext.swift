import COpenSSL
import Glibc

/// The rules and keys of TLS for many connections: TLS 1.2 and newer, no renegotiation, no compression.
///
/// Safe to share: OpenSSL counts its references and locks what changes.
public final class TLSContext: @unchecked Sendable {
  let pointer: OpaquePointer
  let isServer: Bool
  /// ALPN names in wire form behind the octet that counts them; OpenSSL reads it during handshakes.
  private let protocols: UnsafeMutablePointer<UInt8>?

  private init(isServer: Bool, protocols names: [String] = []) throws(OpenSSLError) {
    guard let pointer = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
      throw OpenSSLError("no TLS context")
    }
    self.pointer = pointer
    self.isServer = isServer
    let list = names.flatMap { [UInt8(clamping: $0.utf8.count)] + Array($0.utf8.prefix(255)) }
    if list.isEmpty || list.count > 255 {
      protocols = nil
    } else {
      let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: list.count + 1)
      memory.initialize(to: UInt8(list.count))
      (memory + 1).initialize(from: list, count: list.count)
      protocols = memory
    }
    ERR_clear_error()
    guard mailflow_SSL_CTX_configure(pointer) == 1 else { throw OpenSSLError("TLS 1.2 is not there") }
    mailflow_SSL_CTX_refuse_passphrases(pointer)
    if let protocols, isServer { mailflow_SSL_CTX_set_protocols(pointer, protocols) }
  }

  deinit {
    SSL_CTX_free(pointer)
    protocols?.deallocate()
  }

  /// For a server whose certificate, with its chain behind it, and key are in PEM files.
  ///
  /// - Parameter protocols: ALPN names (RFC 7301), the one that is liked best first.
  /// - Throws: what is wrong with which file.
  public static func server(
    certificate: String, key: String, protocols: [String] = []
  ) throws(OpenSSLError) -> TLSContext {
    let context = try TLSContext(isServer: true, protocols: protocols)
    for file in [certificate, key] where access(file, R_OK) != 0 {
      throw OpenSSLError(reason: "cannot read \(file): \(String(cString: strerror(errno)))")
    }
    ERR_clear_error()
    guard SSL_CTX_use_certificate_chain_file(context.pointer, certificate) == 1 else {
      throw OpenSSLError("\(certificate) holds no certificate in PEM form")
    }
    // OpenSSL compares the two here.
    guard SSL_CTX_use_PrivateKey_file(context.pointer, key, SSL_FILETYPE_PEM) == 1 else {
      guard !isMismatch(ERR_peek_last_error()) else {
        ERR_clear_error()
        throw OpenSSLError(reason: "the key in \(key) is not that of the certificate in \(certificate)")
      }
      throw OpenSSLError("\(key) holds no private key in PEM form without a passphrase")
    }
    return context
  }

  /// For clients.
  ///
  /// - Parameter trust: a PEM file with the certificates to trust; nil: what the system trusts.
  public static func client(trust: String? = nil) throws(OpenSSLError) -> TLSContext {
    let context = try TLSContext(isServer: false)
    let loaded =
      trust.map { SSL_CTX_load_verify_file(context.pointer, $0) } ?? SSL_CTX_set_default_verify_paths(context.pointer)
    guard loaded == 1 else { throw OpenSSLError("nothing to trust\(trust.map { " in \($0)" } ?? "")") }
    return context
  }

  /// Seconds until the server's certificate expires, negative if it has; nil if it has none.
  public var secondsLeft: Int? {
    guard let certificate = SSL_CTX_get0_certificate(pointer) else { return nil }
    var (days, seconds): (Int32, Int32) = (0, 0)
    guard ASN1_TIME_diff(&days, &seconds, nil, X509_get0_notAfter(certificate)) == 1 else { return nil }
    return Int(days) * 86_400 + Int(seconds)
  }

  /// Whether the server's certificate names `host`.
  public func isFor(_ host: String) -> Bool {
    SSL_CTX_get0_certificate(pointer).map { X509_check_host($0, host, host.utf8.count, 0, nil) == 1 } ?? false
  }

  private static func isMismatch(_ code: UInt) -> Bool {
    let reason = Int32(truncatingIfNeeded: code & 0x7F_FFFF)
    return reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH
  }
}

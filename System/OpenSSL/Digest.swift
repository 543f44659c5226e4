import COpenSSL

/// SHA-256 (FIPS 180-4).
public enum SHA256 {
  /// The digest of `bytes`.
  public static func hash(_ bytes: [UInt8]) -> Digest256 {
    var output = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 32
    _ = EVP_Digest(bytes, bytes.count, &output, &length, EVP_sha256(), nil)
    return Digest256(bytes: output)
  }
}
/// A SHA-256 digest.
public struct Digest256: Sendable, Hashable {
  /// 32 bytes.
  public let bytes: [UInt8]
}

import COpenSSL

/// Digests that lists of known files are made of. Not for anything that somebody might want to forge.
public enum FileDigest: Sendable, Hashable, CaseIterable {
  /// 32 digits.
  case md5
  /// 40 digits.
  case sha1
  /// 64 digits.
  case sha256

  /// The algorithm whose digests have so many hexadecimal digits.
  public init?(digits: Int) {
    switch digits {
    case 32: self = .md5
    case 40: self = .sha1
    case 64: self = .sha256
    default: return nil
    }
  }

  /// The digest of `bytes` in lower-case hexadecimal; nil where OpenSSL's settings forbid the algorithm.
  public func digest(_ bytes: UnsafeRawBufferPointer) -> String? {
    let algorithm =
      switch self {
      case .md5: EVP_md5()
      case .sha1: EVP_sha1()
      case .sha256: EVP_sha256()
      }
    var output = [UInt8](repeating: 0, count: 64)
    var length: UInt32 = 0
    guard EVP_Digest(bytes.baseAddress, bytes.count, &output, &length, algorithm, nil) == 1 else { return nil }
    return hexadecimal(output.prefix(Int(length)))
  }
}

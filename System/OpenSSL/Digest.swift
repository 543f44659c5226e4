import COpenSSL

/// A SHA-256 digest: 32 bytes.
public struct Digest256: Sendable, Hashable, CustomStringConvertible {
  /// 32 bytes.
  public let bytes: [UInt8]

  /// Reads 64 hexadecimal digits in lower case; nil for anything else.
  public init?(hex: some StringProtocol) {
    let digits = Array(hex.utf8)
    guard digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: 64, by: 2) {
      guard let high = Self.digit(digits[index]), let low = Self.digit(digits[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    self.bytes = bytes
  }

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 97...102: byte - 87
    default: nil
    }
  }

  /// 64 hexadecimal digits in lower case.
  public var description: String { hexadecimal(bytes) }
}

/// SHA-256 (FIPS 180-4).
public enum SHA256 {
  // Fetched once: the algorithms of the older functions are looked up anew, under a lock, each time they are used. Never
  // changed or freed.
  nonisolated(unsafe) private static let algorithm = EVP_MD_fetch(nil, "SHA256", nil)

  /// The digest of `bytes`.
  public static func hash(_ bytes: some Sequence<UInt8>) -> Digest256 {
    var output = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 32
    let isContiguous: Void? = bytes.withContiguousStorageIfAvailable { buffer in
      _ = EVP_Digest(buffer.baseAddress, buffer.count, &output, &length, algorithm, nil)
    }
    if isContiguous == nil {
      let copy = Array(bytes)
      _ = EVP_Digest(copy, copy.count, &output, &length, algorithm, nil)
    }
    return Digest256(output)
  }

  /// The digest of bytes that come in pieces, such as those of a file.
  public struct Pieces: ~Copyable {
    private let context: OpaquePointer?
    private var isGood: Bool

    /// Of nothing yet.
    public init() {
      context = EVP_MD_CTX_new()
      isGood = EVP_DigestInit_ex(context, algorithm, nil) == 1
    }

    deinit { EVP_MD_CTX_free(context) }

    /// The next piece.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
      isGood = isGood && EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1
    }

    /// The digest; nil if there was no memory for it.
    public consuming func end() -> Digest256? {
      var output = [UInt8](repeating: 0, count: 32)
      return isGood && EVP_DigestFinal_ex(context, &output, nil) == 1 ? Digest256(output) : nil
    }
  }
}

/// SHA-1 (FIPS 180-4), for protocols that still ask for it and do not depend on its strength.
public enum SHA1 {
  /// The digest of `bytes`: 20 bytes.
  public static func hash(_ bytes: [UInt8]) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: 20)
    var length: UInt32 = 20
    _ = EVP_Digest(bytes, bytes.count, &output, &length, EVP_sha1(), nil)
    return output
  }
}

/// Bytes in base64 (RFC 4648 section 4), with its padding.
public func base64(_ bytes: [UInt8]) -> String {
  // A NUL is written behind it.
  var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
  let count = EVP_EncodeBlock(&text, bytes, Int32(clamping: bytes.count))
  return String(decoding: text.prefix(Int(count)), as: UTF8.self)
}

/// Bytes as lower-case hexadecimal digits.
public func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  var text: [UInt8] = []
  for byte in bytes {
    for digit in [byte >> 4, byte & 15] { text.append(digit < 10 ? 48 + digit : 87 + digit) }
  }
  return String(decoding: text, as: UTF8.self)
}

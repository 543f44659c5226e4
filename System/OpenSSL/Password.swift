import COpenSSL

/// What OpenSSL could not do.
public struct OpenSSLError: Error, Sendable, CustomStringConvertible {
  /// What was tried, and OpenSSL's own words.
  public let description: String

  init(reason: String) { description = reason }

  init(_ what: String) {
    var buffer = [CChar](repeating: 0, count: 256)
    let code = ERR_get_error()
    ERR_error_string_n(code, &buffer, buffer.count)
    let words = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    description = code == 0 ? what : "\(what): \(words)"
  }
}

/// Random bytes for keys and tokens (RAND_bytes).
public func randomBytes(_ count: Int) throws(OpenSSLError) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: max(0, min(count, 1 << 20)))
  guard RAND_bytes(&bytes, Int32(bytes.count)) == 1 else { throw OpenSSLError("no random bytes") }
  return bytes
}

/// Passwords as they are stored: scrypt (RFC 7914) with a random salt.
public enum PasswordHash {
  // 2^15 · 8 · 128 bytes = 32 MiB a check: what RFC 7914 section 2 suggests for interactive logins.
  private static let cost: UInt64 = 15

  /// `$scrypt$ln=15,r=8,p=1$SALT$HASH`, salt and hash in hexadecimal.
  public static func make(_ password: String) throws(OpenSSLError) -> String {
    let salt = try randomBytes(16)
    let hash = try derive(password, salt, cost: cost)
    return "$scrypt$ln=\(cost),r=8,p=1$\(hexadecimal(salt))$\(hexadecimal(hash))"
  }

  /// Whether `password` is the one that was stored; compares in constant time. False for a form that it does not know.
  public static func verify(_ password: String, _ stored: String) -> Bool {
    let fields = stored.split(separator: "$")
    guard fields.count == 4, fields[0] == "scrypt", fields[1].hasPrefix("ln="), fields[1].hasSuffix(",r=8,p=1"),
      let cost = UInt64(fields[1].dropFirst(3).prefix { $0 != "," }), (10...20).contains(cost),
      let hash = Digest256(hex: fields[3]), let salt = bytes(fields[2]),
      let found = try? derive(password, salt, cost: cost)
    else { return false }
    return CRYPTO_memcmp(found, hash.bytes, 32) == 0
  }

  private static func derive(_ password: String, _ salt: [UInt8], cost: UInt64) throws(OpenSSLError) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: 32)
    let bytes = Array(password.utf8.prefix(1024)).map { CChar(bitPattern: $0) }
    guard
      EVP_PBE_scrypt(bytes, bytes.count, salt, salt.count, 1 << cost, 8, 1, 1 << 31, &output, output.count) == 1
    else { throw OpenSSLError("scrypt") }
    return output
  }

  private static func bytes(_ hex: Substring) -> [UInt8]? {
    guard hex.utf8.count == 32 else { return nil }
    return Digest256(hex: hex + hex).map { Array($0.bytes.prefix(16)) }
  }
}

import COpenSSL

/// A certificate that nobody vouches for, for encryption without identity: what opportunistic TLS between mail servers
/// needs (RFC 7435).
public enum SelfSignedCertificate {
  /// Key (EC P-256, PKCS #8) and certificate in one PEM text.
  ///
  /// - Parameters:
  ///   - names: DNS names that it is for, at least one; the first is its common name.
  ///   - days: how long it is valid; in the past if negative.
  public static func make(names: [String], days: Int = 3650) throws(OpenSSLError) -> String {
    ERR_clear_error()
    guard let key = mailflow_EVP_EC_gen_P256() else { throw OpenSSLError("no key") }
    defer { EVP_PKEY_free(key) }
    guard let certificate = X509_new() else { throw OpenSSLError("no certificate") }
    defer { X509_free(certificate) }
    guard let bio = mailflow_BIO_new_memory() else { throw OpenSSLError("no memory for a certificate") }
    defer { BIO_free(bio) }
    guard describe(certificate, names.isEmpty ? ["localhost"] : names, days), X509_set_pubkey(certificate, key) == 1,
      X509_sign(certificate, key, EVP_sha256()) > 0,
      PEM_write_bio_PrivateKey(bio, key, nil, nil, 0, nil, nil) == 1, PEM_write_bio_X509(bio, certificate) == 1
    else { throw OpenSSLError("cannot make a certificate for \(names.joined(separator: ", "))") }
    var start: UnsafeMutablePointer<CChar>?
    let count = mailflow_BIO_get_memory(bio, &start)
    return String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
  }

  private static func describe(_ certificate: OpaquePointer, _ names: [String], _ days: Int) -> Bool {
    var serial: UInt64 = 0
    guard RAND_bytes(&serial, 8) == 1, X509_set_version(certificate, 2) == 1,  // that is version 3
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1,
      X509_gmtime_adj(X509_getm_notBefore(certificate), -86_400) != nil,  // clocks differ
      X509_time_adj_ex(X509_getm_notAfter(certificate), Int32(clamping: days), 0, nil) != nil,
      let subject = X509_get_subject_name(certificate),
      // A common name has 64 characters at most (RFC 5280 appendix A); clients look at the alternative names anyway.
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, String(names[0].prefix(64)), -1, -1, 0) == 1,
      X509_set_issuer_name(certificate, subject) == 1
    else { return false }
    let extensions = [
      (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
      (NID_ext_key_usage, "serverAuth"), (NID_subject_alt_name, names.map { "DNS:\($0)" }.joined(separator: ",")),
    ]
    return extensions.allSatisfy { name, value in
      guard let found = X509V3_EXT_conf_nid(nil, nil, name, value) else { return false }
      defer { X509_EXTENSION_free(found) }
      return X509_add_ext(certificate, found, -1) == 1
    }
  }
}

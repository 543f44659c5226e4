import COpenSSL
import Glibc

/// TLS on one non-blocking socket, which it neither owns nor closes. Used by one thread at a time.
///
/// Every operation goes as far as it can without waiting; the same one is to be tried again once the socket is ready for
/// what it wants. OpenSSL reads ahead: look at `hasBuffered` before waiting for the socket.
public final class TLSSession {
  /// How far an operation came.
  public enum Progress: Sendable, Hashable {
    /// That many bytes, at least one; for what moves none, 0.
    case done(Int)
    /// The socket must be readable first.
    case wantsRead
    /// The socket must be writable first.
    case wantsWrite
    /// The peer has said that it sends nothing more.
    case end
    /// The connection ended without that: what came may have been cut off.
    case truncated
    /// The system refused, with this errno.
    case system(Int32)
    /// The peer and we do not understand each other; OpenSSL's words.
    case failed(String)
  }

  private let pointer: OpaquePointer
  private let context: TLSContext
  private var isBroken = false  // OpenSSL must not be asked again after a fatal error

  /// A session that has not shaken hands.
  ///
  /// - Parameter serverName: for clients: whom the certificate has to name (DNS name or IP address), and who is asked for
  ///   (SNI); nil: any certificate will do.
  public init(_ context: TLSContext, descriptor: Int32, serverName: String? = nil) throws(OpenSSLError) {
    guard let pointer = SSL_new(context.pointer) else { throw OpenSSLError("no TLS session") }
    self.pointer = pointer
    self.context = context
    guard SSL_set_fd(pointer, descriptor) == 1 else { throw OpenSSLError("no TLS on descriptor \(descriptor)") }
    if context.isServer {
      SSL_set_accept_state(pointer)
    } else {
      SSL_set_connect_state(pointer)
      if let serverName { try verify(serverName) }
    }
  }

  deinit { SSL_free(pointer) }

  private func verify(_ name: String) throws(OpenSSLError) {
    SSL_set_verify(pointer, SSL_VERIFY_PEER, nil)
    // An address is no name to ask for (RFC 6066 section 3).
    if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(pointer), name) == 1 { return }
    ERR_clear_error()
    guard SSL_set1_host(pointer, name) == 1, mailflow_SSL_set_server_name(pointer, name) == 1 else {
      throw OpenSSLError("“\(name)” cannot be verified")
    }
  }

  /// Whether a read may give something though the socket is not readable.
  public var hasBuffered: Bool { !isBroken && SSL_has_pending(pointer) == 1 }

  /// Version and cipher suite, as "TLSv1.3" and "TLS_AES_256_GCM_SHA384"; to be asked after the handshake.
  public var description: (version: String, cipher: String) {
    (String(cString: SSL_get_version(pointer)), cipherName(pointer))
  }

  /// The name that both sides chose by ALPN.
  public var applicationProtocol: String? {
    var start: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(pointer, &start, &count)
    return start.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(count)), as: UTF8.self) }
  }

  /// Whether an earlier session was resumed.
  public var isResumed: Bool { SSL_session_reused(pointer) == 1 }

  /// Goes on with the handshake.
  public func handshake() -> Progress { perform { SSL_do_handshake(pointer) } }

  /// Takes up to `count` bytes.
  public func read(_ start: UnsafeMutableRawPointer, _ count: Int) -> Progress {
    perform { SSL_read(pointer, start, Int32(clamping: count)) }
  }

  /// Sends up to `count` bytes, at least one. What wants to be tried again is tried with the same bytes, from wherever.
  public func write(_ start: UnsafeRawPointer, _ count: Int) -> Progress {
    perform { SSL_write(pointer, start, Int32(clamping: count)) }
  }

  /// Tells the peer that nothing more comes (close_notify). Reading goes on.
  public func endWriting() -> Progress {
    guard !isBroken, SSL_is_init_finished(pointer) == 1, SSL_get_shutdown(pointer) & SSL_SENT_SHUTDOWN == 0 else {
      return .done(0)
    }
    ERR_clear_error()
    let result = SSL_shutdown(pointer)
    return result >= 0 ? .done(0) : progress(result)  // 0: said; the peer's is not waited for
  }

  private func perform(_ body: () -> Int32) -> Progress {
    guard !isBroken else { return .system(EPIPE) }
    ERR_clear_error()  // what another session left would be taken for ours
    let result = body()
    return result > 0 ? .done(Int(result)) : progress(result)
  }

  private func progress(_ result: Int32) -> Progress {
    let code = errno
    switch SSL_get_error(pointer, result) {
    case SSL_ERROR_WANT_READ: return .wantsRead
    case SSL_ERROR_WANT_WRITE: return .wantsWrite
    case SSL_ERROR_ZERO_RETURN: return .end
    case SSL_ERROR_SYSCALL:
      isBroken = true
      return code == 0 ? .truncated : .system(code)
    default:
      isBroken = true
      let error = ERR_peek_error()
      guard Int32(truncatingIfNeeded: error & 0x7F_FFFF) != SSL_R_UNEXPECTED_EOF_WHILE_READING else {
        return .truncated
      }
      return .failed(ERR_reason_error_string(error).map { String(cString: $0) } ?? "a TLS error")
    }
  }
}

/// The name of a session's cipher suite; the macro that asks for it is not imported.
private func cipherName(_ pointer: OpaquePointer) -> String {
  SSL_CIPHER_get_name(SSL_get_current_cipher(pointer)).map { String(cString: $0) } ?? "(NONE)"
}

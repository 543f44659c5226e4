import Event
public import OpenSSL

/// How a connection is encrypted.
public struct TLSDescription: Sendable, Hashable {
  /// As "TLSv1.3".
  public let version: String
  /// As "TLS_AES_256_GCM_SHA384".
  public let cipher: String
  /// What both sides chose by ALPN (RFC 7301).
  public let applicationProtocol: String?

  /// From its parts.
  public init(version: String, cipher: String, applicationProtocol: String? = nil) {
    self.version = version
    self.cipher = cipher
    self.applicationProtocol = applicationProtocol
  }
}

extension Connection {
  /// Goes over to TLS, at once after the connection was made or (STARTTLS) later: sends what was written, shakes hands.
  ///
  /// Bytes that have been read and not consumed came in plain, perhaps from somebody in between who wants them to be
  /// taken for the peer's: with any, it throws `tls`. After every error the connection is closed.
  ///
  /// - Parameters:
  ///   - serverName: for clients: whom the server's certificate must name; nil: whatever it is.
  ///   - timeout: for all of the handshake.
  /// - Throws: `timedOut(.handshake)`, `tls`, `truncated`, `cancelled`, `closed`, and what the system says.
  @discardableResult
  @inline(never)
  public func startTLS(
    _ context: TLSContext, serverName: String? = nil, timeout: Duration = .seconds(30)
  ) async throws(NetworkError) -> TLSDescription {
    do throws(NetworkError) {
      let deadline = loop.deadline(after: timeout)
      try await flush()
      guard buffered == 0 else { throw .tls("\(buffered) bytes in plain before the handshake") }
      guard transport.tls == nil else { throw .tls("it is encrypted already") }
      try transport.startTLS(context, serverName: serverName)
      try await shakeHands(until: deadline)
      guard let tls else { throw .closed }
      return tls
    } catch {
      abandon()
      throw error
    }
  }

  /// How it is encrypted; nil if it is not.
  public var tls: TLSDescription? {
    transport.tls.map {
      TLSDescription(
        version: $0.description.version, cipher: $0.description.cipher, applicationProtocol: $0.applicationProtocol)
    }
  }

  private func shakeHands(until deadline: Int64) async throws(NetworkError) {
    while true {
      guard isOpen else { throw .closed }
      // A peer that sends without end never lets us wait.
      guard loop.now < deadline else { throw .timedOut(.handshake) }
      let needs: Readiness
      switch transport.tryHandshake() {
      case .done: return
      case .end: throw .truncated
      case .failed(let error): throw error
      case .wantsRead:
        isReadable = false
        needs = .read
      case .wantsWrite:
        isWritable = false
        needs = .write
      }
      try await wait(.reading, for: needs, until: deadline, operation: .handshake)
    }
  }

  /// Ends it after a handshake that failed: nothing is written any more, since that would go on with the handshake. What
  /// waits to be read is thrown away, so that no reset overtakes the alert that OpenSSL has sent.
  private func abandon() {
    transport.endWriting()
    transport.discardReceived(limit: 1 << 16)
    close()
  }
}

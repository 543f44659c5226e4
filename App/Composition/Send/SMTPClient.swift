import Glibc
import Network
import OpenSSL

/// Moves bytes between a server and an `SMTPClientSession`.
struct SMTPClient {
  /// As it was named.
  let server: String
  let host: String
  let port: UInt16

  /// How it is encrypted.
  enum Security {
    case plain
    /// STARTTLS with a certificate that names `host` and that `trust`, or the system, vouches for.
    case tls(trust: String?)
    /// STARTTLS with any certificate.
    case anyTLS
  }

  /// `HOST:PORT`, where HOST may be a name; nil if it is not.
  init?(_ server: String) {
    guard let colon = server.lastIndex(of: ":"), let port = UInt16(server[server.index(after: colon)...]), port > 0
    else {
      return nil
    }
    var host = server[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard !host.isEmpty else { return nil }
    self.server = server
    self.host = String(host)
    self.port = port
  }

  /// Runs the session to its end.
  ///
  /// - Returns: the session, and how it was encrypted.
  /// - Throws: `NetworkError`.
  func run(
    _ session: SMTPClientSession, _ security: Security, timeout: Duration
  ) async throws -> (session: SMTPClientSession, tls: TLSDescription?) {
    let context: TLSContext? =
      switch security {
      case .plain: nil
      case .tls(let trust): try TLSContext.client(trust: trust)
      case .anyTLS: try TLSContext.client()
      }
    var name: String? = host
    if case .anyTLS = security { name = nil }
    let serverName = name
    let addresses = try resolve()
    let loop = try EventLoop()
    defer { loop.stop() }
    return try await loop.run { () async throws -> (session: SMTPClientSession, tls: TLSDescription?) in
      var session = session
      let connection = try await connect(addresses, loop, timeout)
      defer { connection.close() }
      connection.readTimeout = timeout
      connection.writeTimeout = timeout
      while true {
        var action = session.receive(try await reply(connection))
        if case .startTLS = action, let context {
          try await connection.startTLS(context, serverName: serverName)
          action = session.secured()
        }
        switch action {
        case .send(let bytes):
          try await connection.write(bytes)
          try await connection.flush()
        case .startTLS: return (session, nil)
        case .end(let bytes):
          let tls = connection.tls
          try? await connection.write(bytes)
          await connection.finish()
          return (session, tls)
        }
      }
    }
  }

  private func connect(
    _ addresses: [SocketAddress], _ loop: EventLoop, _ timeout: Duration
  ) async throws(NetworkError) -> Connection {
    var last = NetworkError.closed
    for address in addresses {
      do throws(NetworkError) {
        return try await Connection.connect(to: address, on: loop, timeout: min(timeout, .seconds(30)))
      } catch { last = error }
    }
    throw last
  }

  /// A reply of at most 100 lines of 2,000 octets.
  private func reply(_ connection: Connection) async throws(NetworkError) -> SMTPClientSession.Reply {
    var lines: [String] = []
    while lines.count < 100, let line = try await connection.readLine(limit: 2000) {
      let code = line.prefix(3)
      guard line.count == 3 || line.count > 3 && (line[3] == 32 || line[3] == 45),
        code.allSatisfy({ (48...57).contains($0) }), let number = Int(String(decoding: code, as: UTF8.self))
      else { throw .notSMTP }
      // What a server says goes to a terminal.
      lines.append(String(decoding: line.dropFirst(4).map { $0 < 32 || $0 == 127 ? 63 : $0 }, as: UTF8.self))
      if line.count == 3 || line[3] == 32 { return SMTPClientSession.Reply(code: number, lines: lines) }
    }
    throw lines.count == 100 ? .notSMTP : .closed
  }

  private func resolve() throws(NetworkError) -> [SocketAddress] {
    if let address = IPAddress(host) { return [SocketAddress(host: address, port: port)] }
    let addresses = try IPAddress.lookUp(host)
    return addresses.map { SocketAddress(host: $0, port: port) }
  }
}

extension NetworkError {
  /// What answers speaks another protocol.
  fileprivate static var notSMTP: NetworkError {
    .system(.read, code: EPROTO, text: "what answers there does not speak SMTP")
  }
}

import Mail
import Network
import Pipeline

/// Serves one connection: moves bytes between it and its session, and asks what the session wants to know.
struct SMTPConversation {
  private let context: SMTPGateway.Context
  /// The client: the other end, or whom a load balancer names.
  private var peer: IPAddress
  private var session: SMTPSession
  /// Octets of memory that are counted for this connection.
  private var reserved = 0

  private let isImplicit: Bool

  /// - Parameter isImplicit: whether TLS comes before the greeting.
  init(_ context: SMTPGateway.Context, _ peer: IPAddress, isImplicit: Bool = false) {
    self.context = context
    self.isImplicit = isImplicit
    self.peer = peer
    session = Self.session(context, peer)
  }

  private static func session(_ context: SMTPGateway.Context, _ peer: IPAddress) -> SMTPSession {
    let isLimited = context.admission.limits(peer)
    return SMTPSession(
      isLimited ? context.settings : context.unlimitedSettings, remoteAddress: peer.description,
      allowance: isLimited ? context.admission.allowance(of: peer) : nil, at: context.clock.now)
  }

  mutating func run(_ connection: Connection) async {
    context.metrics.add("mailflow_smtp_connections_total")
    if context.proxies.contains(where: { $0.contains(connection.peer.host) }) {
      guard await meet(connection) else { return }
    }
    guard context.admission.clients.enter(peer) else { return await refuse(.tooManyConnections, connection) }
    defer {
      context.admission.clients.leave(peer)
      _ = context.admission.reserve(-reserved)
    }
    guard context.admission.mayConnect(peer, at: context.clock.now) else {
      return await refuse(.connectionsTooFast, connection)
    }
    // The session has deadlines of its own, which limit every read.
    connection.readTimeout = nil
    connection.writeTimeout = context.configuration.timeLimits.command
    do throws(NetworkError) {
      if isImplicit { try await startTLS(connection) }
      try await converse(connection)
    } catch {
      switch error {
      case .timedOut(.read): _ = session.timedOut()
      case .shuttingDown: _ = session.drain()
      case .cancelled: _ = session.stop()
      default: return  // The client is gone, or does not read.
      }
    }
    guard session.hasOutput else { return }
    try? await connection.write(session.takeOutput())
    await connection.finish()
  }

  /// Learns from a load balancer who the client is; false if it does not say so: then the connection is closed.
  private mutating func meet(_ connection: Connection) async -> Bool {
    do throws(NetworkError) {
      guard let header = try await connection.readProxyHeader(timeout: context.configuration.timeLimits.proxyHeader)
      else {
        connection.close()  // a probe
        return false
      }
      if let source = header.source {
        peer = source.host
        session = Self.session(context, peer)
      }
      return true
    } catch {
      context.log.write(
        .warning, "a load balancer does not say who its client is", ("peer", peer.description),
        ("error", error.description))
      await refuse(.noProxyHeader, connection)
      return false
    }
  }

  private func refuse(_ reply: SMTPReply, _ connection: Connection) async {
    context.metrics.add("mailflow_smtp_connections_refused_total")
    guard !isImplicit else { return connection.close() }
    await say(reply, connection)
  }

  /// Returns when the connection is to be closed, after what is left to write.
  private mutating func converse(_ connection: Connection) async throws(NetworkError) {
    // Little stands here, since what does lives as long as an idle connection waits.
    repeat {
      if connection.isDraining, case .close = session.drain() { return }
      if connection.buffered == 0 {
        try await write(connection)
        if session.isClosed { return }
        connection.limitReading(to: max(.zero, session.deadline - context.clock.now))
        guard try await connection.fill(idle: session.isBetweenCommands) else { return }
      }
    } while try await take(connection)
  }

  /// Hands what was read to the session and does what it asks for; false when the connection is to be closed.
  private mutating func take(_ connection: Connection) async throws(NetworkError) -> Bool {
    let now = context.clock.now
    var action = connection.consume { bytes in
      let (consumed, action) = session.receive(bytes, at: now)
      return (result: action, consumed: consumed)
    }
    if case .resolve(let address) = action {
      let status = await context.directory.resolve(address)
      if status != .known { context.metrics.add("mailflow_smtp_recipients_refused_total") }
      action = session.resolved(status, at: context.clock.now)
    }
    if case .accept(let mail) = action {
      try await write(connection)
      if session.isClosed { return false }
      action = session.accepted(await accept(mail), at: context.clock.now)
    }
    if case .startTLS = action { try await startTLS(connection) }
    if case .close = action { return false }
    if !reserve(session.heldBytes) { session.refuseMessage() }
    return true
  }

  private mutating func startTLS(_ connection: Connection) async throws(NetworkError) {
    guard let certificate = context.certificate else { throw .closed }
    if !isImplicit { try await write(connection) }
    if session.isClosed { throw .closed }
    do throws(NetworkError) {
      let tls = try await connection.startTLS(
        certificate.current, timeout: context.configuration.timeLimits.handshake)
      session.secured(tls, at: context.clock.now)
      context.metrics.add("mailflow_smtp_tls_total{version=\"\(tls.version)\"}")
    } catch {
      context.metrics.add("mailflow_smtp_tls_failures_total")
      context.log.write(.info, "no TLS", ("client", peer.description), ("error", error.description))
      throw .closed
    }
  }

  /// Sends the replies so far, all at once; late to a client that makes errors.
  private mutating func write(_ connection: Connection) async throws(NetworkError) {
    guard session.hasOutput else { return }
    let delay = session.takeDelay()
    if delay > .zero { try await wait(delay) }
    try await connection.write(session.takeOutput())
    try await connection.flush()
  }

  private mutating func wait(_ delay: Duration) async throws(NetworkError) {
    guard context.admission.beginWaiting() else {
      _ = session.turnAway()
      return
    }
    defer { context.admission.endWaiting() }
    context.metrics.add("mailflow_smtp_delays_total")
    do { try await context.clock.sleep(for: delay) } catch { throw .cancelled }
  }

  private func say(_ reply: SMTPReply, _ connection: Connection) async {
    var bytes: [UInt8] = []
    reply.encode(into: &bytes)
    try? await connection.write(bytes)
    // Not waited for: while they linger, those who are refused would take the places of others.
    await connection.finish(timeout: .zero)
  }

  /// Counts `octets` of memory for this connection instead of what was counted before; false if there is not enough.
  private mutating func reserve(_ octets: Int) -> Bool {
    guard octets != reserved else { return true }
    guard context.admission.reserve(octets - reserved) else { return false }
    reserved = octets
    return true
  }

  private mutating func accept(_ mail: ReceivedMail) async -> AcceptResult {
    guard reserve(mail.content.count) else { return note(mail, .storageFull) }
    return note(mail, await context.acceptor.accept(mail))
  }

  private func note(_ mail: ReceivedMail, _ result: AcceptResult) -> AcceptResult {
    var level = Log.Level.info
    let (outcome, detail): (String, String)
    switch result {
    case .accepted(let id): (outcome, detail) = ("accepted", id)
    case .refused(let reply): (outcome, detail) = ("refused", reply.description)
    case .storageFull: (level, outcome, detail) = (.warning, "storage-full", "452")
    case .unavailable: (level, outcome, detail) = (.warning, "unavailable", "451")
    }
    context.metrics.add("mailflow_smtp_messages_total{result=\"\(outcome)\"}")
    context.log.write(
      level, "mail \(outcome)", (outcome == "accepted" ? "id" : "reply", detail), ("client", mail.remoteAddress),
      ("helo", mail.helo), ("from", mail.reversePath?.description ?? "<>"),
      ("recipients", String(mail.recipients.count)), ("size", String(mail.content.count)))
    return result
  }
}

/// A WebSocket (RFC 6455) of the server's, for the handler that was given it, on the connection's loop, until it returns.
///
/// One task uses it. Others, from any thread, put what they have for the peer into `outbox`; it is sent while the handler
/// waits in `receive`. An idle one holds no buffer.
public final class WebSocket {
  /// What other parts of the program have for the peer.
  public let outbox: WebSocketOutbox
  /// How it ended; nil while it is open.
  public var closed: WebSocketClose? { machine.closed }

  private let connection: Connection
  private let limits: WebSocketLimits
  private var machine: WebSocketMachine
  private var isAsked = false  // whether a ping waits for a sign of life
  private var hasDeadline = false

  init(_ connection: Connection, _ limits: WebSocketLimits) {
    self.connection = connection
    self.limits = limits
    machine = WebSocketMachine(limits)
    outbox = WebSocketOutbox(connection, limit: limits.outbox)
    connection.writeTimeout = limits.writeTime
    connection.limitReading(to: nil)
  }

  /// The next message; nil at the end, and then `closed` says how it came. Answers pings, asks a silent peer whether it is
  /// there, and sends what is in the outbox.
  public func receive() async -> WebSocketMessage? {
    var turns = 0
    while machine.closed == nil {
      do throws(NetworkError) {
        try await sendOutbox()
        if connection.buffered == 0, try await !fill() { machine.end(.lost) }
        let action = connection.consume { bytes in
          let (action, consumed) = machine.feed(bytes)
          return (result: action, consumed: consumed)
        }
        limitMessage()
        turns += 1
        // Thousands of small frames may lie in the buffer.
        if turns & 63 == 0 { await Task.yield() }
        switch action {
        case .more: break
        case .deliver(let message): return message
        case .send(let bytes): try await write(bytes)
        case .end(let bytes, _): try await write(bytes)
        }
      } catch .interrupted {  // for the outbox
      } catch .shuttingDown { await end(.goingAway) } catch { machine.end(.lost) }
    }
    outbox.close()
    return nil
  }

  /// Sends a message; waits while the peer does not take it. Nothing happens once it is closed.
  public func send(_ message: WebSocketMessage) async {
    guard machine.closed == nil, !machine.hasSentClose else { return }
    await attempt(WebSocketFrame.bytes(message))
  }

  /// Says that we close, and waits for the peer to say so too, at most for `closeTime`. What it sends is thrown away.
  public func close(_ close: WebSocketClose = .normal) async {
    await end(close)
    outbox.close()
  }

  @inline(never)
  private func end(_ close: WebSocketClose) async {
    let bytes = machine.close(close)
    if !bytes.isEmpty, machine.closed == nil { await attempt(bytes) }
    connection.limitReading(to: limits.closeTime)
    while machine.closed == nil {
      do throws(NetworkError) {
        if connection.buffered == 0, try await !connection.fill() { machine.end(.lost) }
        connection.consume { bytes in (result: (), consumed: machine.feed(bytes).consumed) }
      } catch .interrupted {} catch { machine.end(.lost) }
    }
  }

  private func attempt(_ bytes: [UInt8]) async {
    do throws(NetworkError) {
      try await write(bytes)
    } catch { machine.end(.lost) }
  }

  @inline(never)
  private func write(_ bytes: [UInt8]) async throws(NetworkError) {
    guard !bytes.isEmpty else { return }
    try await connection.write(bytes)
    try await connection.flush()
  }

  @inline(never)
  private func sendOutbox() async throws(NetworkError) {
    while let messages = outbox.take() {
      for message in messages { try await connection.write(WebSocketFrame.bytes(message)) }
      try await connection.flush()
    }
    if outbox.hasOverflown {
      machine.end(WebSocketClose(1008, "too slow"))
      try await write(machine.close(WebSocketClose(1008, "too slow")))
      throw .closed
    }
  }

  /// More bytes; false at the end. Asks a silent peer once.
  private func fill() async throws(NetworkError) -> Bool {
    connection.readTimeout = limits.pingInterval
    do throws(NetworkError) {
      let isThere = try await connection.fill(idle: true)
      isAsked = false
      return isThere
    } catch .timedOut(.read) where !isAsked && machine.isIdle {
      isAsked = true
      try await write(WebSocketFrame.bytes(.ping, []))
      return true
    }
  }

  /// A message has to come whole within its time: a byte now and then does not keep the memory of its beginning.
  private func limitMessage() {
    guard machine.isIdle == hasDeadline else { return }
    hasDeadline.toggle()
    connection.limitReading(to: hasDeadline ? limits.messageTime : nil)
  }
}

import Event

extension Connection {
  /// Above it, `write` waits until the peer has taken what there is.
  static let highWaterMark = 16384
  /// From here on bytes are sent from where they are.
  private static let longWrite = 4096

  /// Bytes that were written and not sent yet.
  public var pending: Int { output.count - sent }

  /// Writes: gathers up to 16 KiB, then sends and waits until the peer takes it; in plain, 4 KiB at once are sent now.
  ///
  /// What is gathered goes out with `flush`, `fill`, `readLine` or `finish`. Long `bytes` are sent from where they are,
  /// without a copy. Throws `timedOut`, `cancelled` when it would have to wait, `closed`, and what the system says, as
  /// EPIPE and ECONNRESET when the peer is gone.
  public func write(_ bytes: [UInt8]) async throws(NetworkError) {
    try await write(bytes[...])
  }

  /// See `write`.
  public func write(_ text: String) async throws(NetworkError) {
    guard isOpen else { throw .closed }
    if pending + text.utf8.count >= Self.highWaterMark { return try await write(Array(text.utf8)[...]) }
    output.append(contentsOf: text.utf8)
  }

  /// See `write`.
  public func write(_ bytes: ArraySlice<UInt8>) async throws(NetworkError) {
    guard isOpen else { throw .closed }
    // By TLS what is gathered is one record.
    guard pending + bytes.count >= Self.highWaterMark || bytes.count >= Self.longWrite && transport.tls == nil else {
      output.append(contentsOf: bytes)
      return
    }
    var rest = bytes
    if pending > 0, transport.tls == nil, !isSending, case .done(let count) = try trySend(output[sent...], rest) {
      let before = Swift.min(count, pending)
      sent += before
      rest = rest.dropFirst(count - before)
    }
    try await flush()
    while !rest.isEmpty {
      let count = try await send(rest)
      rest = rest.dropFirst(count)
    }
  }

  /// Sends what was written; returns once the kernel has it.
  public func flush() async throws(NetworkError) { try await flush(isMoreToCome: false) }

  /// The same; with `isMoreToCome`, what does not fill a packet may wait for what is sent next.
  @inline(never)
  func flush(isMoreToCome: Bool) async throws(NetworkError) {
    while sent < output.count {
      sent += try await send(output[sent...], isMoreToCome: isMoreToCome)
    }
    dropSent()
  }

  /// Sends what was written and tells the peer that nothing more comes. It may still be read from.
  public func finishWriting() async throws(NetworkError) {
    try await flush()
    while case .mustWait(let needs) = try attempt({ transport.tryGoodbye() }) {
      wake(.writing, .ready)  // a reader that waited to send what was written before
      try await waitToSend(needs)
    }
    transport.endWriting()
  }

  /// Says the last words and closes: sends what was written, then reads and throws away what the peer still sends.
  ///
  /// To close while bytes wait to be read makes the kernel reset the connection, and the peer may lose our last answer.
  /// Waits at most `timeout` for the peer's end and takes at most 1 MiB; when cancelled, only takes
  /// what has come already.
  @inline(never)
  public func finish(timeout: Duration = .seconds(1)) async {
    defer { close() }
    limitReading(to: timeout)  // an older limit may have passed
    do {
      writeTimeout = timeout
      try await finishWriting()
      var discarded = 0
      (head, tail) = (0, 0)
      while discarded < 1 << 20, try await fill(until: .max, idle: false) {
        discarded += tail - head
        (head, tail) = (0, 0)
      }
    } catch {  // the connection is closed in any case
      transport.discardReceived(limit: 1 << 20)
    }
  }

  /// What `fill` does first: sends what was written, unless a writer is at it.
  @inline(never)
  func flushBeforeReading() async throws(NetworkError) {
    while sent < output.count, !isSending {
      switch try trySend(output[sent...]) {
      case .done(let count): sent += count
      case .mustWait(let needs): try await waitToSend(needs)
      }
    }
    if !isSending { dropSent() }
  }

  private func dropSent() {
    sent = 0
    if output.capacity > 1024 { output = [] } else { output.removeAll(keepingCapacity: true) }
  }

  /// At least one byte of some, waiting if need be.
  @inline(never)
  private func send(_ bytes: ArraySlice<UInt8>, isMoreToCome: Bool = false) async throws(NetworkError) -> Int {
    isSending = true
    defer { isSending = false }
    while true {
      switch try trySend(bytes, isMoreToCome: isMoreToCome) {
      case .done(let count): return count
      case .mustWait(let needs):
        wake(.writing, .ready)  // a reader that waits to send the same leaves it to us
        try await waitToSend(needs)
      }
    }
  }

  enum Attempt {
    case done(Int)
    case mustWait(Readiness)
  }

  private func trySend(_ bytes: ArraySlice<UInt8>, isMoreToCome: Bool = false) throws(NetworkError) -> Attempt {
    try attempt { bytes.withUnsafeBytes { transport.tryWrite($0, isMoreToCome: isMoreToCome) } }
  }

  private func trySend(_ first: ArraySlice<UInt8>, _ second: ArraySlice<UInt8>) throws(NetworkError) -> Attempt {
    try attempt {
      first.withUnsafeBytes { first in second.withUnsafeBytes { second in transport.tryWrite(first, second) } }
    }
  }

  func attempt(_ body: () -> Transport.Progress) throws(NetworkError) -> Attempt {
    guard isOpen else { throw .closed }
    switch body() {
    case .done(let count): return .done(count)
    case .failed(let error):
      sawClose = true
      throw error
    case .end: throw .closed
    case .wantsWrite:
      isWritable = false
      return .mustWait(.write)
    case .wantsRead:
      isReadable = false
      return .mustWait(.read)
    }
  }

  @inline(never)
  func waitToSend(_ needs: Readiness) async throws(NetworkError) {
    try await wait(.writing, for: needs, until: loop.deadline(after: writeTimeout), operation: .write)
  }
}

import Event
import Glibc

extension Connection {
  /// Bytes that were read and not consumed.
  public var buffered: Int { tail - head }

  /// Whether the peer has said that it sends nothing more, perhaps behind bytes that still wait to be read, or has reset
  /// the connection.
  public var peerHasClosed: Bool { sawClose || atEnd }

  /// Limits all reads from now on to `total` together, whatever `readTimeout` allows each; nil takes the limit away.
  public func limitReading(to total: Duration?) {
    readDeadline = loop.deadline(after: total)
  }

  /// Reads at least one more byte into the buffer; false at the end of what the peer sends.
  ///
  /// Sends first what was written. The buffer holds 16 KiB: consume before you fill again, else it throws
  /// `lineTooLong`. With `idle`, for the wait between two commands, an orderly shutdown ends it by `shuttingDown`.
  /// Throws `timedOut`, `cancelled` (also when bytes are at hand), `closed` and what the system says.
  ///
  /// - Parameter atMost: octets that may be taken from the socket: what comes behind them is not for us to read in plain.
  public func fill(idle: Bool = false, atMost limit: Int = .max) async throws(NetworkError) -> Bool {
    try await fill(until: loop.deadline(after: readTimeout), idle: idle, atMost: limit)
  }

  /// Reads a line and returns it without its CRLF; nil at the end of what the peer sends, where half a line is dropped.
  ///
  /// Only CRLF ends a line (RFC 5321 section 2.3.8); one that ends with LF alone is thrown away and throws
  /// `bareLineFeed`. CR elsewhere stays in the line. `limit` counts the bytes before the CRLF, at most 16,382; beyond it
  /// throws `lineTooLong` at once. After both errors the next call begins with the next line. The whole line must come
  /// within `readTimeout`. For `idle` and the other errors see `fill`.
  public func readLine(limit: Int, idle: Bool = false) async throws(NetworkError) -> [UInt8]? {
    let limit = Swift.max(0, Swift.min(limit, EventLoop.bufferSize - 2))
    let deadline = loop.deadline(after: readTimeout)
    var scanned = 0
    while true {
      if let buffer, head + scanned < tail {
        let start = UnsafeRawPointer(buffer) + head
        if let feed = memchr(start + scanned, 10, tail - head - scanned) {
          let length = UnsafeRawPointer(feed) - start
          let hasReturn = length > 0 && start.load(fromByteOffset: length - 1, as: UInt8.self) == 13
          let line = hasReturn ? length - 1 : length
          head += length + 1
          scanned = 0
          if isDiscardingLine {
            isDiscardingLine = false
            continue
          }
          guard line <= limit else { throw .lineTooLong(limit: limit) }
          guard hasReturn else { throw .bareLineFeed }
          return [UInt8](UnsafeRawBufferPointer(start: start, count: line))
        }
      }
      if isDiscardingLine {
        (head, tail) = (0, 0)
      } else if tail - head > limit + 1 {
        isDiscardingLine = true
        throw .lineTooLong(limit: limit)
      }
      scanned = tail - head
      guard try await fill(until: deadline, idle: idle && scanned == 0) else { return nil }
    }
  }

  /// Shows the bytes that are buffered; `body` returns its result and how many of them it is done with.
  public func consume<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> (result: Result, consumed: Int)
  ) throws(Failure) -> Result {
    let start = buffer.map { UnsafeRawPointer($0 + head) }
    let (result, consumed) = try body(UnsafeRawBufferPointer(start: start, count: tail - head))
    head += Swift.max(0, Swift.min(consumed, tail - head))
    return result
  }

  /// Returns between 1 and `limit` bytes as they come; nil at the end of what the peer sends.
  public func read(limit: Int = 16384) async throws(NetworkError) -> [UInt8]? {
    if buffered == 0, try await !fill() { return nil }
    return consume { bytes in
      let count = Swift.min(bytes.count, Swift.max(1, limit))
      return (result: [UInt8](bytes.prefix(count)), consumed: count)
    }
  }

  func fill(until deadline: Int64, idle: Bool, atMost limit: Int = .max) async throws(NetworkError) -> Bool {
    if sent < output.count { try await flushBeforeReading() }
    reads &+= 1
    // A peer that always has bytes ready never lets us wait: the others of the loop have their turn.
    if reads & 3 == 0 { await Task.yield() }
    guard isOpen else { throw .closed }
    if Task.isCancelled { throw .cancelled }
    if idle && isDraining { throw .shuttingDown }
    if atEnd { return false }
    let deadline = Swift.min(deadline, readDeadline)
    // A peer that always has bytes ready never lets us wait, so the time is looked at here too.
    if readDeadline != .max && loop.now >= readDeadline { throw .timedOut(.read) }
    while true {
      if isReadable || transport.hasBuffered {
        let room = try makeRoom()
        switch transport.tryRead(room.start, Swift.min(room.count, limit)) {
        case .done(let count):
          // Also a short read leaves it readable: the edge may have told of a reset too, which libevent does not say and
          // which makes no other edge. Only EAGAIN is sure.
          tail += count
          return true
        case .end:
          atEnd = true
          releaseBuffer()
          return false
        case .failed(let error):
          sawClose = true  // a reset comes as an error, not as an end
          throw error
        case .wantsWrite:
          isWritable = false
          try await wait(.reading, for: .write, until: deadline, operation: .read)
          continue
        case .wantsRead: isReadable = false
        }
      }
      releaseBuffer()
      try await wait(.reading, for: .read, until: deadline, operation: .read, isIdle: idle)
      guard isOpen else { throw .closed }
    }
  }

  private func makeRoom() throws(NetworkError) -> (start: UnsafeMutableRawPointer, count: Int) {
    let buffer = self.buffer ?? loop.takeBuffer()
    self.buffer = buffer
    if head == tail {
      (head, tail) = (0, 0)
    } else if head > 0 && tail > EventLoop.bufferSize / 2 {
      memmove(buffer, buffer + head, tail - head)
      (head, tail) = (0, tail - head)
    }
    guard tail < EventLoop.bufferSize else { throw .lineTooLong(limit: EventLoop.bufferSize) }
    return (buffer + tail, EventLoop.bufferSize - tail)
  }

  /// Whoever waits with nothing in the buffer holds none; nor what was needed to write.
  private func releaseBuffer() {
    if pending == 0, !isSending { (output, sent) = ([], 0) }
    guard head == tail, let buffer else { return }
    loop.giveBuffer(buffer)
    self.buffer = nil
    (head, tail) = (0, 0)
  }
}

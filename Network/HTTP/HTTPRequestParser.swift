/// Turns the bytes of a connection into requests, however they are cut into pieces. Holds at most one head and no body.
package struct HTTPRequestParser: Sendable {
  /// What came of some bytes.
  package enum Event: Sendable, Equatable {
    /// More are needed.
    case more
    /// A head has been read. Its body follows, if only an empty one, until `end`.
    case head(HTTPHead)
    /// A piece of the body: these of the bytes that were fed.
    case data(Range<Int>)
    /// The request is complete.
    case end
  }

  private enum State: Sendable {
    case head
    case body(left: Int)
    case chunks(ChunkedDecoder)
  }

  let limits: HTTPLimits
  private var state = State.head
  private var head: [UInt8] = []
  private var emptyLines = 0

  /// Reads from the start of a connection.
  package init(_ limits: HTTPLimits) { self.limits = limits }

  /// Whether nothing of a next request has come yet.
  var isIdle: Bool {
    if case .head = state { head.isEmpty && emptyLines == 0 } else { false }
  }

  /// Bytes of the body that have been announced and are still to come.
  package var pending: Int {
    switch state {
    case .head: 0
    case .body(let left): left
    case .chunks(let decoder): decoder.pending
    }
  }

  /// Takes bytes, up to the end of what it tells of, and says how many it has taken.
  package mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> (event: Event, consumed: Int) {
    switch state {
    case .head:
      guard let end = try takeHead(bytes) else { return (.more, bytes.count) }
      let parsed = try HTTPHead(head[...], limits)
      (head, emptyLines) = ([], 0)
      state = parsed.length.map { .body(left: $0) } ?? .chunks(ChunkedDecoder())
      return (.head(parsed), end)
    case .body(0):
      state = .head
      return (.end, 0)
    case .body(let left):
      let count = min(left, bytes.count)
      guard count > 0 else { return (.more, 0) }
      state = .body(left: left - count)
      return (.data(0..<count), count)
    case .chunks(var decoder):
      let (data, consumed) = try decoder.feed(bytes)
      state = decoder.isDone ? .head : .chunks(decoder)
      if let data { return (.data(data), consumed) }
      return (decoder.isDone ? .end : .more, consumed)
    }
  }

  /// Gathers the head; the number of bytes taken once its empty line has come.
  private mutating func takeHead(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Int? {
    var (start, index) = (0, 0)
    var sawReturn = head.last == 13
    var end = limits.head - head.count  // of the room that is left
    while index < bytes.count {
      guard index < end else { throw HTTPError(431, "the head is larger than \(limits.head) bytes") }
      let byte = bytes[index]
      defer { index += 1 }
      if sawReturn {
        guard byte == 10 else { throw HTTPError(400, "a bare CR") }
        sawReturn = false
        let count = head.count + index - start
        if count == 1 {  // an empty line before the request line is let pass (RFC 9112 section 2.2), once
          emptyLines += 1
          guard emptyLines == 1 else { throw HTTPError(400, "empty lines before the request") }
          (head, start) = ([], index + 1)
          end = start + limits.head
        } else if count >= 3, (index - 2 >= start ? bytes[index - 2] : head[count - 2]) == 10 {
          head.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start...index]))
          return index + 1
        }
      } else if byte < 32 || byte == 127 {
        guard byte == 13 || byte == 9 else { throw HTTPError(400, byte == 10 ? "a bare LF" : "a control byte") }
        sawReturn = byte == 13
      } else {
        // Most bytes: on to the next that says something.
        let last = min(bytes.count, end) - 1
        while index < last, bytes[index + 1] >= 32, bytes[index + 1] != 127 { index += 1 }
      }
    }
    head.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start...]))
    return nil
  }
}

/// Turns the bytes of a connection into requests, however they are cut into pieces. Holds at most one head and one body.
package struct HTTPRequestParser: Sendable {
  /// What came of some bytes.
  package enum Event: Sendable, Equatable {
    /// More are needed.
    case more
    /// A head has been read whose client waits for `100 Continue` before it sends the body.
    case wantsContinue
    /// A request is complete.
    case request(HTTPRequest)
  }

  private enum State: Sendable {
    case head
    case body(HTTPRequest, left: Int)
    case chunks(HTTPRequest, ChunkedDecoder)
  }

  let limits: HTTPLimits
  private var state = State.head
  private var head: [UInt8] = []

  /// Reads from the start of a connection.
  package init(_ limits: HTTPLimits) { self.limits = limits }

  /// Whether nothing of a next request has come yet.
  var isIdle: Bool {
    if case .head = state { head.isEmpty } else { false }
  }
  /// Whether the head of a request has been read, and its body has not.
  var isInBody: Bool { if case .head = state { false } else { true } }

  /// Takes bytes, at most up to the end of a request, and says how many it has taken.
  package mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> (event: Event, consumed: Int) {
    var used = 0
    if case .head = state {
      guard let end = try takeHead(bytes) else { return (.more, bytes.count) }
      used = end
      let parsed = try HTTPHead(head[...], limits)
      head = []
      switch parsed.framing {
      case .length(0): return (.request(parsed.request), used)
      case .length(let count): state = .body(parsed.request, left: count)
      case .chunked: state = .chunks(parsed.request, ChunkedDecoder(limit: limits.body))
      }
      if parsed.expectsContinue, used == bytes.count { return (.wantsContinue, used) }
    }
    let (event, count) = try takeBody(UnsafeRawBufferPointer(rebasing: bytes[used...]))
    return (event, used + count)
  }

  /// Gathers the head; the number of bytes taken once its empty line has come.
  private mutating func takeHead(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Int? {
    for (index, byte) in bytes.enumerated() {
      let last = head.last
      if byte == 10 {
        guard last == 13 else { throw HTTPError(400, "a bare LF") }
        if head.count == 1 {  // an empty line before the request line is let pass (RFC 9112 section 2.2), once
          head = []
          continue
        }
        head.append(byte)
        if head.count >= 4, head[head.count - 3] == 10 { return index + 1 }
        continue
      }
      if last == 13 { throw HTTPError(400, "a bare CR") }
      if byte < 32 && byte != 13 && byte != 9 || byte == 127 { throw HTTPError(400, "a control byte") }
      head.append(byte)
      if head.count > limits.head { throw HTTPError(431, "the head is larger than \(limits.head) bytes") }
    }
    return nil
  }

  private mutating func takeBody(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> (Event, Int) {
    switch state {
    case .head: return (.more, 0)
    case .body(var request, let left):
      state = .head  // so that the body is not copied while it grows
      let count = min(left, bytes.count)
      request.body.append(contentsOf: bytes[..<count])
      guard count == left else {
        state = .body(request, left: left - count)
        return (.more, count)
      }
      return (.request(request), count)
    case .chunks(var request, var decoder):
      state = .head
      let count = try decoder.feed(bytes, into: &request.body)
      guard decoder.isDone else {
        state = .chunks(request, decoder)
        return (.more, count)
      }
      return (.request(request), count)
    }
  }
}

/// The chunked coding of RFC 9112 section 7.1, read strictly; trailers are checked and thrown away.
struct ChunkedDecoder: Sendable {
  private enum State: Sendable {
    case size, extensions, sizeFeed, data, dataReturn, dataFeed, trailerStart, trailerName, trailer, trailerFeed,
      endFeed, done
  }
  private var state = State.size
  private var left = 0
  private var digits = 0
  private var extras = 0
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  var isDone: Bool { state == .done }

  /// Appends what it decodes to `body`; the number of bytes taken.
  mutating func feed(_ bytes: UnsafeRawBufferPointer, into body: inout [UInt8]) throws(HTTPError) -> Int {
    var index = 0
    while index < bytes.count, state != .done {
      let byte = bytes[index]
      switch state {
      case .size:
        if let digit = HTTPHead.hexDigit(byte) {
          digits += 1
          guard digits <= 8 else { throw HTTPError(400, "bad chunk size") }
          left = left << 4 | Int(digit)
        } else if digits > 0, byte == 13 {
          state = .sizeFeed
        } else if digits > 0, byte == UInt8(ascii: ";") {
          state = .extensions
        } else {
          throw HTTPError(400, "bad chunk size")
        }
      case .extensions:
        extras += 1
        if byte == 13 {
          state = .sizeFeed
        } else if byte < 32 && byte != 9 || extras > 1024 {
          throw HTTPError(400, "bad chunk extension")
        }
      case .sizeFeed:
        guard byte == 10 else { throw HTTPError(400, "bad chunk") }
        guard body.count + left <= limit else { throw HTTPError(413, "body is too large") }
        state = left == 0 ? .trailerStart : .data
      case .data:
        let count = min(left, bytes.count - index)
        body.append(contentsOf: bytes[index..<(index + count)])
        left -= count
        index += count - 1
        if left == 0 { state = .dataReturn }
      case .dataReturn:
        guard byte == 13 else { throw HTTPError(400, "bad chunk") }
        state = .dataFeed
      case .dataFeed:
        guard byte == 10 else { throw HTTPError(400, "bad chunk") }
        state = .size
        digits = 0
      case .trailerStart:
        if byte == 13 {
          state = .endFeed
        } else {
          guard HTTPHead.isTokenByte(byte) else { throw HTTPError(400, "bad trailer") }
          state = .trailerName
        }
      case .trailerName:
        extras += 1
        if byte == UInt8(ascii: ":") {
          state = .trailer
        } else if !HTTPHead.isTokenByte(byte) || extras > 4096 {
          throw HTTPError(400, "bad trailer")
        }
      case .trailer:
        extras += 1
        if byte == 13 {
          state = .trailerFeed
        } else if byte < 32 && byte != 9 || extras > 4096 {
          throw HTTPError(400, "bad trailer")
        }
      case .trailerFeed:
        guard byte == 10 else { throw HTTPError(400, "bad trailer") }
        state = .trailerStart
      case .endFeed:
        guard byte == 10 else { throw HTTPError(400, "bad chunked body") }
        state = .done
      case .done: break
      }
      index += 1
    }
    return index
  }
}

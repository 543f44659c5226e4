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

  /// Bytes of extensions, and of trailers with them, that a whole body may have: they serve nobody here.
  private static let maximumExtensions = 1024
  private static let maximumTrailers = 4096

  var isDone: Bool { state == .done }
  /// Bytes of the chunk that has begun which are still to come.
  var pending: Int { state == .data ? left : 0 }

  /// Reads up to the end of the next piece of data, of the body, or of `bytes`; where the data is, and how many bytes
  /// were taken.
  mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> (data: Range<Int>?, consumed: Int) {
    var index = 0
    while index < bytes.count, state != .done {
      if state == .data {
        let end = index + min(left, bytes.count - index)
        left -= end - index
        if left == 0 { state = .dataReturn }
        return (index..<end, end)
      }
      try take(bytes[index])
      index += 1
    }
    return (nil, index)
  }

  private mutating func take(_ byte: UInt8) throws(HTTPError) {
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
      } else if byte < 32 && byte != 9 || byte == 127 || extras > Self.maximumExtensions {
        throw HTTPError(400, "bad chunk extension")
      }
    case .sizeFeed:
      guard byte == 10 else { throw HTTPError(400, "bad chunk") }
      state = left == 0 ? .trailerStart : .data
    case .dataReturn:
      guard byte == 13 else { throw HTTPError(400, "bad chunk") }
      state = .dataFeed
    case .dataFeed:
      guard byte == 10 else { throw HTTPError(400, "bad chunk") }
      (state, digits) = (.size, 0)
    case .trailerStart:
      guard byte == 13 || HTTPHead.isTokenByte(byte) else { throw HTTPError(400, "bad trailer") }
      state = byte == 13 ? .endFeed : .trailerName
    case .trailerName:
      extras += 1
      if byte == UInt8(ascii: ":") {
        state = .trailer
      } else if !HTTPHead.isTokenByte(byte) || extras > Self.maximumTrailers {
        throw HTTPError(400, "bad trailer")
      }
    case .trailer:
      extras += 1
      if byte == 13 {
        state = .trailerFeed
      } else if byte < 32 && byte != 9 || byte == 127 || extras > Self.maximumTrailers {
        throw HTTPError(400, "bad trailer")
      }
    case .trailerFeed:
      guard byte == 10 else { throw HTTPError(400, "bad trailer") }
      state = .trailerStart
    case .endFeed:
      guard byte == 10 else { throw HTTPError(400, "bad chunked body") }
      state = .done
    case .data, .done: break
    }
  }
}

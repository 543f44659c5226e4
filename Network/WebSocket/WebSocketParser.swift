/// Turns the bytes of a WebSocket into messages and control frames, however they are cut into pieces (RFC 6455).
///
/// What the RFC forbids is refused with the close code to send: reserved bits and opcodes, frames that are masked when
/// they should not be or the other way round, lengths in a longer form than needed, control frames in pieces or over 125
/// bytes, pieces out of order, text that is not UTF-8, close codes that do not exist; and what is over the limits before
/// it is taken. Holds at most one message and one control frame. Nothing is to be fed behind a close or a refusal.
package struct WebSocketParser: Sendable {
  /// What came of some bytes.
  package enum Event: Sendable, Equatable {
    /// More are needed.
    case more
    /// A message is complete.
    case message(WebSocketMessage)
    case ping([UInt8])
    case pong([UInt8])
    /// The peer sends nothing more.
    case close(WebSocketClose)
  }

  private struct Header: Sendable {
    var opcode: WebSocketFrame.Opcode
    var isFinal: Bool
    var mask: (UInt8, UInt8, UInt8, UInt8)?
    var length: Int
  }

  private let limits: WebSocketLimits
  private let expectsMask: Bool
  private var start: [UInt8] = []  // of a frame whose header is not complete
  private var frame: Header?
  private var taken = 0  // of the frame's payload
  private var control: [UInt8] = []
  private var message: [UInt8] = []
  private var kind: WebSocketFrame.Opcode?  // of the message that is being put together

  /// Reads from the start of the first frame; a server expects masks, a client none.
  package init(_ limits: WebSocketLimits, expectsMask: Bool = true) {
    self.limits = limits
    self.expectsMask = expectsMask
  }

  /// Whether nothing of a message or a frame has come that is not complete.
  var isIdle: Bool { start.isEmpty && frame == nil && kind == nil }

  /// Takes bytes, at most up to the end of a frame, and says how many it has taken.
  package mutating func feed(
    _ bytes: UnsafeRawBufferPointer
  ) throws(WebSocketClose) -> (event: Event, consumed: Int) {
    var used = 0
    while frame == nil {
      guard used < bytes.count else { return (.more, used) }
      start.append(bytes[used])
      used += 1
      frame = try header()
    }
    guard let frame else { return (.more, used) }
    let count = min(frame.length - taken, bytes.count - used)
    let payload = UnsafeRawBufferPointer(rebasing: bytes[used..<(used + count)])
    if frame.opcode.isControl {
      Self.append(payload, to: &control, frame.mask, at: taken)
    } else {
      Self.append(payload, to: &message, frame.mask, at: taken)
    }
    (taken, used) = (taken + count, used + count)
    guard taken == frame.length else { return (.more, used) }
    self.frame = nil
    taken = 0
    return (try end(frame), used)
  }

  private mutating func end(_ frame: Header) throws(WebSocketClose) -> Event {
    if frame.opcode.isControl {
      let payload = control
      control = []
      switch frame.opcode {
      case .ping: return .ping(payload)
      case .pong: return .pong(payload)
      default: return .close(try Self.close(payload))
      }
    }
    guard frame.isFinal, let kind else { return .more }
    let payload = message
    (self.kind, message) = (nil, [])
    guard kind == .text else { return .message(.binary(payload)) }
    guard let text = String(validating: payload, as: UTF8.self) else { throw WebSocketClose(1007, "not UTF-8") }
    return .message(.text(text))
  }

  /// The header of a frame once it is complete; looks at each part as soon as it is there.
  private mutating func header() throws(WebSocketClose) -> Header? {
    guard let opcode = WebSocketFrame.Opcode(rawValue: start[0] & 15), start[0] & 0x70 == 0 else {
      throw WebSocketClose(1002, "a reserved bit or opcode")
    }
    let isFinal = start[0] & 0x80 != 0
    guard start.count >= 2 else { return nil }
    guard (start[1] & 0x80 != 0) == expectsMask else { throw WebSocketClose(1002, "masked the wrong way") }
    let short = Int(start[1] & 127)
    if opcode.isControl {
      guard isFinal, short <= 125 else { throw WebSocketClose(1002, "a control frame that is long or in pieces") }
    } else {
      guard (opcode == .continuation) == (kind != nil) else { throw WebSocketClose(1002, "pieces out of order") }
    }
    let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
    guard start.count >= 2 + lengthBytes else { return nil }
    let length = lengthBytes == 0 ? UInt64(short) : start[2..<(2 + lengthBytes)].reduce(0) { $0 << 8 | UInt64($1) }
    guard lengthBytes == 0 || length >= (lengthBytes == 2 ? 126 : 65_536), length >> 63 == 0 else {
      throw WebSocketClose(1002, "a length in the wrong form")
    }
    guard opcode.isControl || length <= UInt64(limits.frame) && length <= UInt64(limits.message - message.count) else {
      throw WebSocketClose(1009, "larger than \(min(limits.frame, limits.message)) bytes")
    }
    guard start.count == 2 + lengthBytes + (expectsMask ? 4 : 0) else { return nil }
    let key = start.suffix(4)
    let first = key.startIndex
    start.removeAll(keepingCapacity: true)
    if !opcode.isControl, kind == nil { kind = opcode }
    return Header(
      opcode: opcode, isFinal: isFinal,
      mask: expectsMask ? (key[first], key[first + 1], key[first + 2], key[first + 3]) : nil, length: Int(length))
  }

  private static func append(
    _ payload: UnsafeRawBufferPointer, to bytes: inout [UInt8], _ mask: (UInt8, UInt8, UInt8, UInt8)?, at offset: Int
  ) {
    let before = bytes.count
    bytes.append(contentsOf: payload)
    guard let mask else { return }
    let key = [mask.0, mask.1, mask.2, mask.3]
    bytes.withUnsafeMutableBufferPointer { bytes in
      for index in 0..<payload.count { bytes[before + index] ^= key[(offset + index) & 3] }
    }
  }

  private static func close(_ payload: [UInt8]) throws(WebSocketClose) -> WebSocketClose {
    guard !payload.isEmpty else { return .none }
    guard payload.count >= 2 else { throw WebSocketClose(1002, "half a close code") }
    let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
    guard WebSocketClose.isValid(code) else { throw WebSocketClose(1002, "no such close code") }
    guard let reason = String(validating: payload[2...], as: UTF8.self) else {
      throw WebSocketClose(1007, "a reason that is not UTF-8")
    }
    return WebSocketClose(code, reason)
  }
}

/// What travels in a WebSocket.
public enum WebSocketMessage: Sendable, Equatable {
  /// UTF-8.
  case text(String)
  /// Any bytes.
  case binary([UInt8])
}

/// How a WebSocket ended, or why it has to.
public struct WebSocketClose: Error, Sendable, Equatable {
  /// What RFC 6455 section 7.4 lists; 1005 if the peer gave none, 1006 if the connection was lost.
  public let code: UInt16
  /// For people, at most 123 bytes.
  public let reason: String

  /// A code with words.
  public init(_ code: UInt16, _ reason: String = "") {
    self.code = code
    self.reason = reason
  }

  /// Done.
  public static let normal = WebSocketClose(1000)
  /// The server stops, or the page is left.
  public static let goingAway = WebSocketClose(1001)
  static let none = WebSocketClose(1005)
  static let lost = WebSocketClose(1006)

  static func isValid(_ code: UInt16) -> Bool {
    (1000...1003).contains(code) || (1007...1014).contains(code) || (3000...4999).contains(code)
  }
}

/// What a WebSocket may take, and how long it may wait.
public struct WebSocketLimits: Sendable {
  /// Bytes of a frame.
  public var frame = 1 << 20
  /// Bytes of a message, however many frames it has.
  public var message = 1 << 20
  /// From the first byte of a message to its last.
  public var messageTime = Duration.seconds(60)
  /// Silence after which the peer is asked whether it is there; after as much again it is given up.
  public var pingInterval = Duration.seconds(30)
  /// For the peer to take the next part of a message.
  public var writeTime = Duration.seconds(30)
  /// For the peer to answer that we close.
  public var closeTime = Duration.seconds(5)
  /// Bytes that may wait in the outbox for a peer that is slow.
  public var outbox = 1 << 20
  /// The defaults.
  public init() {}
}

/// A frame as it is sent (RFC 6455 section 5.2).
package enum WebSocketFrame {
  package enum Opcode: UInt8, Sendable {
    case continuation = 0
    case text = 1
    case binary = 2
    case close = 8
    case ping = 9
    case pong = 10

    var isControl: Bool { rawValue >= 8 }
  }

  /// The bytes of a frame; `mask` is for clients.
  package static func bytes(
    _ opcode: Opcode, _ payload: some Collection<UInt8>, isFinal: Bool = true, mask: [UInt8]? = nil
  ) -> [UInt8] {
    let count = payload.count
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 14)
    bytes.append((isFinal ? 0x80 : 0) | opcode.rawValue)
    let masked: UInt8 = mask == nil ? 0 : 0x80
    switch count {
    case ..<126: bytes.append(masked | UInt8(count))
    case ..<65_536: bytes += [masked | 126, UInt8(count >> 8), UInt8(count & 255)]
    default:
      bytes.append(masked | 127)
      for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: count >> shift)) }
    }
    guard let mask, mask.count == 4 else { return bytes + payload }
    bytes += mask
    for (index, byte) in payload.enumerated() { bytes.append(byte ^ mask[index & 3]) }
    return bytes
  }

  static func bytes(_ message: WebSocketMessage) -> [UInt8] {
    switch message {
    case .text(let text): bytes(.text, text.utf8)
    case .binary(let data): bytes(.binary, data)
    }
  }

  static func bytes(_ close: WebSocketClose) -> [UInt8] {
    var reason = Array(close.reason.utf8.prefix(123))
    while String(validating: reason, as: UTF8.self) == nil { reason.removeLast() }  // not in the middle of a character
    return bytes(.close, [UInt8(close.code >> 8), UInt8(close.code & 255)] + reason)
  }
}

/// What a WebSocket does about each frame, as a value without I/O.
package struct WebSocketMachine: Sendable {
  /// What is to be done.
  package enum Action: Sendable, Equatable {
    /// Read on.
    case more
    /// Hand a message to whoever waits for one.
    case deliver(WebSocketMessage)
    /// Send these bytes and read on.
    case send([UInt8])
    /// Send these bytes, if any; nothing more comes or is taken.
    case end([UInt8], WebSocketClose)
  }

  private var parser: WebSocketParser
  /// Whether we have said that we close.
  package private(set) var hasSentClose = false
  /// How it ended.
  package private(set) var closed: WebSocketClose?

  /// At the start of a connection.
  package init(_ limits: WebSocketLimits) {
    parser = WebSocketParser(limits)
  }

  /// Whether nothing has come of a message that is not complete.
  var isIdle: Bool { parser.isIdle }

  /// Takes bytes, at most up to the end of a frame, and says how many it has taken.
  package mutating func feed(_ bytes: UnsafeRawBufferPointer) -> (action: Action, consumed: Int) {
    guard closed == nil else { return (.more, bytes.count) }
    do throws(WebSocketClose) {
      let (event, consumed) = try parser.feed(bytes)
      switch event {
      case .more, .pong: return (.more, consumed)
      // Nothing is to be sent behind our close (section 5.5.1), and what comes before theirs is not wanted any more.
      case .ping(let payload):
        return (hasSentClose ? .more : .send(WebSocketFrame.bytes(.pong, payload)), consumed)
      case .message(let message): return (hasSentClose ? .more : .deliver(message), consumed)
      case .close(let close):
        closed = close
        return (.end(self.close(close == .none ? .normal : WebSocketClose(close.code)), close), consumed)
      }
    } catch {
      closed = error
      return (.end(close(error), error), bytes.count)
    }
  }

  /// Says that we close; the bytes to send, none if it was said before.
  package mutating func close(_ close: WebSocketClose) -> [UInt8] {
    guard !hasSentClose else { return [] }
    hasSentClose = true
    return WebSocketFrame.bytes(close)
  }

  /// The connection is gone or is to be given up.
  package mutating func end(_ close: WebSocketClose) {
    if closed == nil { closed = close }
  }
}

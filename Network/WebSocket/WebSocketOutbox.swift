import Synchronization

/// What other parts of the program, on any thread, have for the peer of a WebSocket. Bounded: a peer that is too slow for
/// it is sent away.
public final class WebSocketOutbox: Sendable {
  private struct State {
    var messages: [WebSocketMessage] = []
    var bytes = 0
    var isClosed = false
    var hasOverflown = false
  }
  private let state = Mutex(State())
  private let limit: Int
  private let wake: @Sendable () -> Void

  init(_ connection: Connection, limit: Int) {
    self.limit = limit
    let loop = connection.loop
    nonisolated(unsafe) weak let reader = connection  // touched on its loop only
    wake = { loop.execute { reader?.interrupt() } }
  }

  /// Puts a message into the queue; false if the WebSocket is closed, or will be since there is no more room.
  @discardableResult
  public func send(_ message: WebSocketMessage) -> Bool {
    let (isTaken, isFirst) = state.withLock { state in
      guard !state.isClosed, !state.hasOverflown else { return (false, false) }
      let wasEmpty = state.messages.isEmpty
      guard state.bytes + message.cost <= limit else {
        (state.messages, state.bytes, state.hasOverflown) = ([], 0, true)
        return (false, true)
      }
      state.messages.append(message)
      state.bytes += message.cost
      return (true, wasEmpty)
    }
    if isFirst { wake() }
    return isTaken
  }

  var hasOverflown: Bool { state.withLock { $0.hasOverflown } }

  func take() -> [WebSocketMessage]? {
    state.withLock { state in
      guard !state.messages.isEmpty else { return nil }
      defer { (state.messages, state.bytes) = ([], 0) }
      return state.messages
    }
  }

  func close() {
    state.withLock { state in (state.messages, state.bytes, state.isClosed) = ([], 0, true) }
  }
}

extension WebSocketMessage {
  /// What it counts in the outbox.
  fileprivate var cost: Int {
    switch self {
    case .text(let text): text.utf8.count + 64
    case .binary(let bytes): bytes.count + 64
    }
  }
}

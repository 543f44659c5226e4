import FuzzKit
import Network

/// Rules of WebSocket: how its bytes are cut makes no difference, nothing comes behind the end, and what was taken is the
/// same when it is sent in the plainest form.
public enum WebSocketFuzz {
  /// The first rule that does not hold.
  public static func brokenRule(_ bytes: [UInt8]) -> String? {
    let whole = run([bytes[...]])
    if run(Pieces(bytes)) != whole { return "pieces" }
    var sum = 0
    for (index, action) in whole.enumerated() {
      switch action {
      case .more: return "nothing"
      case .deliver(.text(let text)): sum += text.utf8.count
      case .deliver(.binary(let data)): sum += data.count
      case .send(let frame): if frame.count > 127 || frame[0] != 0x8A { return "pong" }
      case .end(let frame, let close):
        if index != whole.count - 1 { return "something behind the end" }
        if frame.count < 4 || frame.count > 127 || frame[0] != 0x88 { return "close" }
        if close.code < 1000 || close.code > 4999 || close.reason.utf8.count > 123 { return "close code" }
      }
    }
    if sum > bytes.count { return "more than came" }
    let sent = whole.flatMap(plain)
    return run([sent[...]]) == whole.filter { if case .end = $0 { false } else { true } } ? nil : "sent and read again"
  }

  private static let limits: WebSocketLimits = {
    var limits = WebSocketLimits()
    (limits.frame, limits.message) = (300, 400)
    return limits
  }()

  private static func run(_ pieces: some Sequence<ArraySlice<UInt8>>) -> [WebSocketMachine.Action] {
    var machine = WebSocketMachine(limits)
    var actions: [WebSocketMachine.Action] = []
    for piece in pieces {
      var rest = piece
      while !rest.isEmpty, machine.closed == nil {
        let (action, consumed) = rest.withUnsafeBytes { bytes in machine.feed(bytes) }
        precondition((1...rest.count).contains(consumed), "no progress")
        if action != .more { actions.append(action) }
        rest = rest.dropFirst(consumed)
      }
    }
    return actions
  }

  /// As a client sends it: a message in two frames if it is longer than one may be.
  private static func plain(_ action: WebSocketMachine.Action) -> [UInt8] {
    let mask: [UInt8] = [1, 2, 3, 4]
    let (opcode, data): (WebSocketFrame.Opcode, [UInt8])
    switch action {
    case .deliver(.text(let text)): (opcode, data) = (.text, Array(text.utf8))
    case .deliver(.binary(let binary)): (opcode, data) = (.binary, binary)
    case .send(let pong): return WebSocketFrame.bytes(.ping, pong[2...], mask: mask)
    case .more, .end: return []
    }
    guard data.count > limits.frame else { return WebSocketFrame.bytes(opcode, data, mask: mask) }
    return WebSocketFrame.bytes(opcode, data.prefix(200), isFinal: false, mask: mask)
      + WebSocketFrame.bytes(.continuation, data.dropFirst(200), mask: mask)
  }
}

#if FUZZING
  /// What libFuzzer calls with each input.
  @_cdecl("LLVMFuzzerTestOneInput")
  public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    tryInput(start, count, WebSocketFuzz.brokenRule)
  }
#endif

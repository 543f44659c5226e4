import Synchronization
import Testing

@testable import Network

/// Frames as values; `Tests/Scenarios/test_websocket.py` has real clients.
@Suite struct WebSocketTests {
  private static let mask: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

  private func frame(
    _ opcode: WebSocketFrame.Opcode, _ payload: [UInt8] = [], isFinal: Bool = true
  ) -> [UInt8] {
    WebSocketFrame.bytes(opcode, payload, isFinal: isFinal, mask: Self.mask)
  }

  /// All that comes of some bytes, cut into pieces of `size`.
  private func run(_ bytes: [UInt8], size: Int = .max, limits: WebSocketLimits = WebSocketLimits())
    -> [WebSocketMachine.Action]
  {
    var machine = WebSocketMachine(limits)
    var actions: [WebSocketMachine.Action] = []
    var rest = bytes[...]
    while !rest.isEmpty, machine.closed == nil {
      let (action, consumed) = Array(rest.prefix(size)).withUnsafeBytes { machine.feed($0) }
      if action != .more { actions.append(action) }
      rest = rest.dropFirst(consumed)
    }
    return actions
  }

  private func code(_ bytes: [UInt8], limits: WebSocketLimits = WebSocketLimits()) -> UInt16? {
    guard case .end(let reply, let close)? = run(bytes, limits: limits).last else { return nil }
    // What we answer says the same.
    let told = UInt16(reply[2]) << 8 | UInt16(reply[3])
    return told == close.code || close.code == 1005 ? close.code : nil
  }

  /// The examples of RFC 6455 section 5.7.
  @Test func examplesOfTheRFC() {
    let hello: [UInt8] = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]
    #expect(run(hello) == [.deliver(.text("Hello"))])
    #expect(frame(.text, Array("Hello".utf8)) == hello)
    var client = WebSocketParser(WebSocketLimits(), expectsMask: false)
    let pieces: [UInt8] = [0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F]
    let first = try? pieces.withUnsafeBytes { try client.feed($0) }
    #expect(first?.event == .more && first?.consumed == 5)
    let second = try? pieces[5...].withUnsafeBytes { try client.feed($0) }
    #expect(second?.event == .message(.text("Hello")))
    #expect(WebSocketFrame.bytes(.binary, [UInt8](repeating: 0, count: 256)).prefix(4) == [0x82, 0x7E, 0x01, 0x00])
    #expect(
      WebSocketFrame.bytes(.binary, [UInt8](repeating: 0, count: 65_536)).prefix(10)
        == [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0])
  }

  @Test func piecesDoNotMatter() {
    let euro = Array("1 €".utf8)
    var bytes = frame(.text, Array(euro.prefix(3)), isFinal: false) + frame(.ping, [1, 2])
    bytes += frame(.continuation, Array(euro.suffix(2)), isFinal: false) + frame(.continuation)
    bytes += frame(.binary, [UInt8](repeating: 7, count: 70_000)) + frame(.pong, [3]) + frame(.close, [0x03, 0xE8])
    let expected: [WebSocketMachine.Action] = [
      .send([0x8A, 2, 1, 2]), .deliver(.text("1 €")), .deliver(.binary([UInt8](repeating: 7, count: 70_000))),
      .end([0x88, 2, 0x03, 0xE8], .normal),
    ]
    for size in [1, 2, 7, 1000, .max] { #expect(run(bytes, size: size) == expected, "by \(size)") }
  }

  @Test func whatTheRFCForbidsIsRefused() {
    let text = Array("x".utf8)
    let refused: [(String, [UInt8], UInt16)] = [
      ("not masked", WebSocketFrame.bytes(.text, text), 1002),
      ("a reserved bit", [0xC1, 0x80], 1002), ("a reserved opcode", [0x83, 0x80], 1002),
      ("another reserved opcode", [0x8B, 0x80], 1002),
      ("a ping in pieces", frame(.ping, text, isFinal: false), 1002),
      ("a long ping", [0x89, 0xFE, 0, 126], 1002), ("a length in a longer form", [0x82, 0xFE, 0, 125], 1002),
      ("in the longest", [0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 1002),
      ("over 2⁶³", [0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
      ("a piece of nothing", frame(.continuation, text), 1002),
      ("a message within another", frame(.text, text, isFinal: false) + frame(.text, text), 1002),
      ("not UTF-8", frame(.text, [0xFF]), 1007), ("half a character", frame(.text, [0xE2, 0x82]), 1007),
      ("a surrogate", frame(.text, [0xED, 0xA0, 0x80]), 1007),
      ("half a code", frame(.close, [3]), 1002), ("1005 as a code", frame(.close, [0x03, 0xED]), 1002),
      ("999 as a code", frame(.close, [0x03, 0xE7]), 1002),
      ("a reason that is not UTF-8", frame(.close, [0x03, 0xE8, 0xFF]), 1007),
      ("a close without a code", frame(.close), 1005),
      ("a code of the application", frame(.close, [0x0F, 0xA0]), 4000),
    ]
    for (what, bytes, expected) in refused { #expect(code(bytes + frame(.text, text)) == expected, "\(what)") }
  }

  @Test func framesAndMessagesHaveLimits() {
    var limits = WebSocketLimits()
    (limits.frame, limits.message) = (100, 150)
    let hundred = [UInt8](repeating: 65, count: 100)
    #expect(code(frame(.binary, hundred + [1]), limits: limits) == 1009)
    // Said before any of it has come.
    #expect(code([0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0], limits: limits) == 1009)
    #expect(code(frame(.binary, hundred, isFinal: false) + frame(.continuation, hundred), limits: limits) == 1009)
    let fits = frame(.binary, hundred, isFinal: false) + frame(.continuation, Array(hundred.prefix(50)))
    #expect(run(fits, limits: limits).count == 1)
  }

  @Test func nothingIsSentBehindOurClose() {
    var machine = WebSocketMachine(WebSocketLimits())
    #expect(machine.close(.goingAway) == [0x88, 2, 0x03, 0xE9])
    #expect(machine.close(.normal).isEmpty)
    let bytes = frame(.ping, [1]) + frame(.text, [65]) + frame(.close, [0x03, 0xE8])
    var rest = bytes[...]
    while machine.closed == nil {
      let (action, consumed) = rest.withUnsafeBytes { machine.feed($0) }
      #expect(action == .more || action == .end([], .normal))
      rest = rest.dropFirst(consumed)
    }
    let long = WebSocketFrame.bytes(WebSocketClose(1000, String(repeating: "€", count: 60)))
    #expect(long.count <= 127 && String(validating: long.dropFirst(4), as: UTF8.self)?.utf8.count == 123)
  }
}

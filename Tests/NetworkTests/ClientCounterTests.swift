import Testing

@testable import Network

@Suite struct ClientCounterTests {
  private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

  @Test func connectionsAreLimitedByAddress() throws {
    let counter = ClientCounter(limit: 2)
    #expect(counter.enter(try address("192.0.2.1")))
    #expect(counter.enter(try address("192.0.2.1")))
    #expect(!counter.enter(try address("192.0.2.1")))
    #expect(!counter.enter(try address("::ffff:192.0.2.1")))
    #expect(counter.enter(try address("192.0.2.2")))
    counter.leave(try address("192.0.2.1"))
    #expect(counter.enter(try address("192.0.2.1")))
    #expect(!counter.enter(try address("192.0.2.1")))
  }

  @Test func anIPv6NetworkIsOneClient() throws {
    let counter = ClientCounter(limit: 1)
    #expect(counter.enter(try address("2001:db8::1")))
    #expect(!counter.enter(try address("2001:db8::2")))
    #expect(counter.enter(try address("2001:db8:0:1::1")))
  }

  @Test(arguments: ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
  func loopbackIsNotCounted(_ text: String) throws {
    let counter = ClientCounter(limit: 1)
    for _ in 0..<3 { #expect(counter.enter(try address(text))) }
  }
}

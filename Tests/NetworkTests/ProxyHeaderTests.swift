import Network
import Testing

@Suite struct ProxyHeaderTests {
  private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]

  /// What is read when octets come as slowly as they are asked for: never more than the header's own.
  private func read(_ bytes: [UInt8]) throws -> (source: SocketAddress?, length: Int)? {
    var come = 0
    while true {
      let progress = try bytes[..<come].withUnsafeBytes { (bytes) throws(ProxyHeader.Mistake) in
        try ProxyHeader.parse(bytes)
      }
      switch progress {
      case .complete(let header, let length):
        #expect(length == come)
        return (header.source, length)
      case .needs(let count):
        #expect(count > 0)
        guard come < bytes.count else { return nil }
        come = min(bytes.count, come + count)
      }
    }
  }

  private func binary(_ command: UInt8, _ family: UInt8, _ rest: [UInt8]) -> [UInt8] {
    Self.signature + [command, family, UInt8(rest.count >> 8), UInt8(rest.count & 255)] + rest
  }

  @Test(arguments: [
    ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n", "192.0.2.7:56324"),
    ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    ("PROXY TCP6 2001:db8::7 2001:db8::1 1 25\r\n", "[2001:db8::7]:1"), ("PROXY UNKNOWN\r\n", ""),
    ("PROXY UNKNOWN ffff::ffff ffff::1 65535 65535\r\n", ""),
    (
      "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
    ),
  ])
  func lines(_ line: String, _ source: String) throws {
    let header = try #require(try read(Array((line + "EHLO x\r\n").utf8)))
    #expect(header.length == line.utf8.count)
    #expect(header.source?.description ?? "" == source)
  }

  @Test(arguments: [
    "EHLO x\r\n", "proxy TCP4 192.0.2.7 198.51.100.1 1 25\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n1234",
    "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 01 25\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n", "PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n",
    "PROXY TCP6 192.0.2.7 198.51.100.1 1 25\r\n", "PROXY TCP4 192.0.2.999 198.51.100.1 1 25\r\n",
    "PROXY TCP4  192.0.2.7 198.51.100.1 1 25\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1 25\n      ",
    "PROXY TCP5 192.0.2.7 198.51.100.1 1 25\r\n", "PROXY UNKNOWN" + String(repeating: "x", count: 200),
    "PROXYTCP4 192.0.2.7 198.51.100.1 1 25\r\n",
  ])
  func brokenLines(_ line: String) {
    #expect(throws: ProxyHeader.Mistake.self) { try read(Array(line.utf8)) }
  }

  @Test func binaryHeaders() throws {
    let v4: [UInt8] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0, 25]
    #expect(try read(binary(0x21, 0x11, v4) + [1])?.source?.description == "192.0.2.7:56324")
    // With fields behind the addresses, which are passed over.
    #expect(try read(binary(0x21, 0x11, v4 + [3, 0, 4, 1, 2, 3, 4]))?.source?.description == "192.0.2.7:56324")
    let one: [UInt8] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
    #expect(try read(binary(0x21, 0x21, one + one + [0, 1, 0, 25]))?.source?.description == "[2001:db8::7]:1")
    // The balancer speaks for itself, or of somebody without an IP address.
    for bytes in [binary(0x20, 0, []), binary(0x20, 0x11, v4), binary(0x21, 0, []), binary(0x21, 0x31, v4)] {
      let header = try #require(try read(bytes))
      #expect(header.source == nil)
      #expect(header.length == bytes.count)
    }
    for bytes in [
      binary(0x11, 0x11, v4), binary(0x22, 0x11, v4), binary(0x21, 0x41, v4), binary(0x21, 0x13, v4),
      binary(0x21, 0x11, Array(v4.dropLast())), binary(0x21, 0x21, v4),
      Self.signature + [0x21, 0x11, 0xff, 0xff] + v4, Self.signature.dropLast() + [11, 0x21, 0x11, 0, 0],
    ] { #expect(throws: ProxyHeader.Mistake.self) { try read(Array(bytes)) } }
  }

  @Test func networks() throws {
    func contains(_ network: String, _ address: String) throws -> Bool {
      try #require(IPNetwork(network)).contains(try #require(IPAddress(address)))
    }
    #expect(try contains("10.0.0.0/8", "10.255.0.1"))
    #expect(try !contains("10.0.0.0/8", "11.0.0.1"))
    #expect(try contains("10.0.0.0/8", "::ffff:10.0.0.1"))
    #expect(try contains("192.0.2.7", "192.0.2.7"))
    #expect(try !contains("192.0.2.7", "192.0.2.6"))
    #expect(try contains("192.0.2.6/31", "192.0.2.7"))
    #expect(try contains("0.0.0.0/0", "192.0.2.7"))
    #expect(try !contains("0.0.0.0/0", "::1"))
    #expect(try contains("2001:db8::/33", "2001:db8:7fff::1"))
    #expect(try !contains("2001:db8::/33", "2001:db8:8000::1"))
    for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/-1", "10.0.0.0/8/8", "example.com"] {
      #expect(IPNetwork(text) == nil, "\(text)")
    }
    #expect(IPNetwork("2001:db8::/32")?.description == "2001:db8::/32")
    #expect(IPNetwork("192.0.2.7/32")?.description == "192.0.2.7")
  }
}

import Testing

@testable import Network

@Suite struct DNSNameTests {
  @Test(arguments: [
    ("example.net", "example.net"), ("example.net.", "example.net"), ("MX1.Example.NET", "mx1.example.net"),
    (".", "."), ("_25._tcp.mx", "_25._tcp.mx"), ("a+b=c.example", "a+b=c.example"), ("*.example", "*.example"),
  ])
  func namesAreParsedAndWritten(text: String, written: String) throws {
    #expect(try #require(DNSName(text)).description == written)
  }

  @Test(arguments: [
    "", "..", ".example", "a..b", "a b", "a\u{0}b", "a\\.b", "müller.example", "a\n.example", "\u{7f}",
    String(repeating: "a", count: 64), String(repeating: "a.", count: 127) + "bb",
  ])
  func otherTextIsNoName(text: String) {
    #expect(DNSName(text) == nil)
  }

  @Test func theLongestNames() throws {
    let label = String(repeating: "a", count: 63)
    let longest = [label, label, label, String(repeating: "b", count: 61)].joined(separator: ".")
    #expect(try #require(DNSName(longest)).wire.count == 255)
    #expect(DNSName(longest + ".") == DNSName(longest))
    #expect(DNSName(longest + "b") == nil)
    #expect(DNSName(String(repeating: "a.", count: 127))?.labels.count == 127)
    #expect(DNSName(String(repeating: "a.", count: 128)) == nil)
    #expect(DNSName(longest)?.below("c") == nil)
  }

  @Test func partsAndOtherBytes() throws {
    let name = try #require(DNSName("Mail.Example.net"))
    #expect(name.parent == DNSName("example.NET"))
    #expect(name.below("_25", "_TCP") == DNSName("_25._tcp.mail.example.net"))
    #expect(DNSName.root.parent == nil)
    #expect(DNSName.root.isRoot && DNSName.root.below("net") == DNSName("net"))
    #expect(DNSName(labels: [[0, 46, 92, 255, 65], [110]])?.description == "\\000\\.\\\\\\255a.n")
    #expect(DNSName(labels: [[]]) == nil)
  }

  @Test(arguments: [
    ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
    (
      "2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    ),
  ])
  func theReverseOfAddresses(address: String, name: String) throws {
    #expect(DNSName(reverseOf: try #require(IPAddress(address))) == DNSName(name))
  }
}

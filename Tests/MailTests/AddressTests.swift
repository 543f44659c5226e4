import Mail
import Testing

@Suite struct AddressTests {
  @Test(arguments: [
    ("alice@example.com", "alice@example.com"),
    ("Alice@EXAMPLE.com", "Alice@example.com"),
    ("a.b.c@example.com", "a.b.c@example.com"),
    ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"),
    ("\"a b\"@example.com", "\"a b\"@example.com"),
    ("\"alice\"@example.com", "alice@example.com"),
    ("\"a\\\"b\\\\c\"@example.com", "\"a\\\"b\\\\c\"@example.com"),
    ("\"a@b\"@example.com", "\"a@b\"@example.com"),
    ("\"..\"@example.com", "\"..\"@example.com"),
    ("x@localhost", "x@localhost"),
    ("x@a-b.example", "x@a-b.example"),
    ("x@[192.0.2.1]", "x@[192.0.2.1]"),
    ("x@[IPv6:2001:DB8::1]", "x@[ipv6:2001:db8::1]"),
  ])
  func reads(_ text: String, _ written: String) throws {
    let address = try #require(EmailAddress(text))
    #expect(address.description == written)
    #expect(EmailAddress(address.description) == address)
  }

  @Test(arguments: [
    "", "@", "a", "a@", "@b", "a@@b", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b c", "a@b.", "a@.b", "a@b..c", "a@-b",
    "a@b-", "a@b-.c", "a@b_c", "<a@b>", "a@b>", "\"a@b", "\"\"@b", "\"a\\\"@b", "\"a\"b@c", "a\"b\"@c", "a@[1.2.3]",
    "a@[1.2.3.4", "a@[IPv6:zz]", "a@[tag:x]", "a@[]", "a\r\n@b", "a@b\r\nRCPT TO:<c@d>", "a\u{0}@b", "\"a\u{7}\"@b",
    "ä@b", "a@ö.example", "a@b\u{0}",
  ])
  func refuses(_ text: String) { #expect(EmailAddress(text) == nil) }

  @Test func limits() {
    let local = String(repeating: "l", count: 64)
    #expect(EmailAddress("\(local)@b") != nil)
    #expect(EmailAddress("\(local)l@b") == nil)
    let label = String(repeating: "d", count: 63)
    #expect(EmailAddress("a@\(label)") != nil)
    #expect(EmailAddress("a@\(label)d") == nil)
    let domain = "\(label).\(label).\(label).\(String(repeating: "d", count: 60))"  // 252 bytes
    #expect(EmailAddress("a@\(domain)") != nil)
    #expect(EmailAddress("ab@\(domain)") == nil)
    #expect(EmailAddress(String(repeating: "a", count: 1 << 20) + "@b") == nil)
  }

  @Test func comparesOursInLowerCase() {
    #expect(EmailAddress("Alice.B@EXAMPLE.com")?.normalized == "alice.b@example.com")
    #expect(EmailAddress("\"A b\"@Example.com")?.normalized == "\"a b\"@example.com")
    #expect(EmailAddress("PostMaster@example.com")?.isPostmaster == true)
  }

  @Test func readsUTF8OnlyWhenAllowed() {
    #expect(EmailAddress("지우@example.com", allowingUTF8: true)?.localPart == "지우")
    #expect(EmailAddress("지우@example.com") == nil)
    #expect(EmailAddress("a@bücher.example", allowingUTF8: true)?.domain == "bücher.example")
  }
}

import Mail
import Pipeline
import Testing

@Suite struct AddressListTests {
  /// Name, address and group of each, as `name|local@domain|group`.
  private func outline(_ text: String) -> (list: AddressList, lines: [String]) {
    let list = AddressList(Bytes(text))
    return (
      list,
      list.mailboxes.map { box in
        let address = box.domain.isEmpty ? box.localPart : "\(box.localPart)@\(box.domain)"
        return "\(box.name)|\(address)" + (box.group.map { "|\(list.groups[$0])" } ?? "")
      }
    )
  }

  @Test(
    arguments: [
      // RFC 5322 appendix A.1.
      ("John Doe <jdoe@machine.example>", ["John Doe|jdoe@machine.example"], []),
      ("\"Joe Q. Public\" <john.q.public@example.com>", ["Joe Q. Public|john.q.public@example.com"], []),
      (
        "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
        ["Mary Smith|mary@x.test", "|jdoe@example.org", "Who?|one@y.test"], []
      ),
      (
        "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
        ["|boss@nil.test", "Giant; \"Big\" Box|sysservices@example.net"], []
      ),
      (
        "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
        ["Ed Jones|c@a.test|A Group", "|joe@where.test|A Group", "John|jdoe@one.test|A Group"], []
      ),
      ("Undisclosed recipients:;", [], []),
      // A.5: comments.
      ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["Pete|pete@silly.test"], []),
      (
        "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
        ["Chris Jones|c@public.example|A Group", "|joe@example.org|A Group", "John|jdoe@one.test|A Group"], []
      ),
      ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", [], []),
      // A.6.1 and A.6.3: obsolete.
      ("Joe Q. Public <john.q.public@example.com>", ["Joe Q. Public|john.q.public@example.com"], []),
      (
        "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
        ["Mary Smith|mary@example.net", "|jdoe@test.example"], .obsolete
      ),
      // RFC 2047 section 5 and RFC 6532.
      ("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", ["Keith Moore|moore@cs.utk.edu"], []),
      ("\"=?utf-8?q?J=C3=BCrgen?=\" <j@x>", ["Jürgen|j@x"], []),
      ("=?utf-8?q?Doe,_J.?= =?utf-8?q?_<x>?= <j@x>", ["Doe, J. <x>|j@x"], []),
      ("지우 <지우@예.example>", ["지우|지우@예.example"], []),
      // What there is.
      ("a@b (Alice A.)", ["Alice A.|a@b"], []),
      ("<a@b> (x)", ["x|a@b"], []),
      ("Alice a@b", ["Alice|a@b"], .malformed),
      ("<a@b", ["|a@b"], .malformed),
      ("a@b>", ["|a@b"], .malformed),
      ("a@b; c@d", ["|a@b", "|c@d"], .malformed),
      ("alice", ["|alice"], .malformed),
      ("Doe, John <j@x>", ["|Doe", "John|j@x"], .malformed),
      ("\"open <a@b>", ["|open <a@b>"], .malformed),
      ("a@[192.0.2.1], x@[IPv6:::1]", ["|a@[192.0.2.1]", "|x@[IPv6:::1]"], []),
      ("\"a b\"@c", ["|a b@c"], []),
      ("<>", [], [.malformed, .empty]),
      ("", [], .empty),
      (",,", [], [.obsolete, .empty]),
      ("a@b@c", ["|a@b@c"], .malformed),
      ("<a@b> Name", ["Name|a@b"], .malformed),
      ("a..b@c", ["|a..b@c"], .malformed),
      ("x <a@b>, \u{7}", ["x|a@b", "| "], .malformed),
    ] as [(String, [String], AddressList.Defects)])
  func reads(_ text: String, _ lines: [String], _ defects: AddressList.Defects) {
    let (list, found) = outline(text)
    #expect(found == lines)
    #expect(list.defects == defects)
  }

  @Test func emptyGroupsAreKept() {
    let list = AddressList(Bytes("Undisclosed recipients:;, Friends: a@b;"))
    #expect(list.groups == ["Undisclosed recipients", "Friends"])
    #expect(list.mailboxes.map(\.group) == [1])
  }

  @Test func givesAddressesForEnvelopes() {
    let list = AddressList(Bytes("A <\"a b\"@Example.COM>, b@-x, 지우@x"))
    #expect(list.mailboxes.map { $0.address?.description } == ["\"a b\"@example.com", nil, "지우@x"])
    #expect(list.mailboxes.map(\.description) == ["A <a b@Example.COM>", "b@-x", "지우@x"])
  }

  @Test(arguments: ["(", "<", "a@b,", "\"", ":", "@", "a:", "x ", "=?", "[", "a@b::::", "((a))", ".", "\\"])
  func hostileListsTakeLinearTime(_ piece: String) {
    let list = AddressList(Bytes(String(repeating: piece, count: 300_000)))
    #expect(list.mailboxes.count <= AddressList.maximumCount)
  }
}

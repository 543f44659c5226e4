import Testing

@testable import Network

@Suite struct DNSMessageTests {
  private typealias B = DNSBytes
  private let example = DNSName("example.net")

  private func failure(_ bytes: [UInt8]) -> DNSMessage.Malformed? {
    do throws(DNSMessage.Malformed) {
      _ = try DNSMessage(parsing: bytes)
      return nil
    } catch { return error }
  }

  @Test func recordsOfEachType() throws {
    let six = [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
    let cases: [(Int, [UInt8], DNSRecord.Data)] = [
      (1, [192, 0, 2, 1], .a(try #require(IPAddress("192.0.2.1")))),
      (28, six, .aaaa(try #require(IPAddress("2001:db8::1")))),
      (5, B.name("a.b"), .cname(try #require(DNSName("a.b")))),
      (12, [1, 97] + B.pointer(12), .ptr(try #require(DNSName("a.example.net")))),
      (15, [1, 2, 0], .mx(.init(preference: 258, exchange: .root))),
      (16, [0], .txt(.init(strings: [[]]))),
      (16, [2, 97, 98, 1, 99], .txt(.init(strings: [[97, 98], [99]]))),
      (52, [3, 1, 0, 9, 9], .tlsa(.init(usage: 3, selector: 1, matching: 0, association: [9, 9]))),
      (99, [1, 2, 3], .other(type: 99)),
    ]
    for (type, bytes, data) in cases {
      let message = try DNSMessage(parsing: B.message(type, [B.record(B.pointer(12), type, bytes)]))
      #expect(message.name == example && message.type == type && message.responseCode == 0 && !message.isTruncated)
      #expect(message.answers == [DNSRecord(name: try #require(example), ttl: 60, data: data)])
    }
    #expect(DNSRecord.TXT(strings: [[97, 98], [99]]).text == "abc")
  }

  @Test func whatIsSaidOfAllOfIt() throws {
    let message = try DNSMessage(
      parsing: B.message(
        16, [], authorities: [B.soa(minimum: 30)], additional: [B.record([0], 41, [], ttl: [1, 0, 0, 0], class: 1232)],
        code: 3, flags: 0x8380, question: B.name("EXAMPLE.net")))
    #expect(message.isTruncated && message.name == example)
    #expect(message.responseCode == 16 + 3)  // the upper part is in the OPT record
    #expect(message.authorities.map(\.data) == [.soa(negativeTTL: 30)])
    let old = try DNSMessage(parsing: B.message(1, [B.record([0], 1, [1, 1, 1, 1], ttl: [128, 0, 0, 1])]))
    #expect(old.answers.map(\.ttl) == [0])
  }

  /// Each is one mistake in a message that is good otherwise.
  @Test func whatIsNoAnswerIsRefused() throws {
    let a = B.record(B.pointer(12), 1, [192, 0, 2, 1])
    let long = (0..<127).flatMap { _ in [1, 97] as [UInt8] }
    let cases: [(String, [UInt8], DNSMessage.Malformed)] = [
      ("nothing", [], .cutShort),
      ("half a header", Array(B.message(1, [a]).prefix(11)), .cutShort),
      ("a header alone", Array(B.message(1, [a]).prefix(12)), .cutShort),
      ("a question, not an answer", B.message(1, [a], flags: 0x0100), .notAnAnswer),
      ("an update", B.message(1, [a], flags: 0xa800), .notAnAnswer),
      ("no question", B.message(1, [a], counts: [0, 1, 0, 0]), .notAnAnswer),
      ("two questions", B.message(1, [a], counts: [2, 1, 0, 0]), .notAnAnswer),
      ("fewer records than announced", B.message(1, [a], counts: [1, 2, 0, 0]), .cutShort),
      ("65,535 records that are not there", B.message(1, [a], counts: [1, 65_535, 65_535, 65_535]), .cutShort),
      ("more records than announced", B.message(1, [a, a], counts: [1, 1, 0, 0]), .trailingBytes),
      ("a byte behind the end", B.message(1, [a]) + [0], .trailingBytes),
      ("data longer than the message", Array(B.message(1, [a]).dropLast()), .cutShort),
      ("an address of 3 bytes", B.message(1, [B.record([0], 1, [1, 2, 3])]), .cutShort),
      ("an address of 5 bytes", B.message(1, [B.record([0], 1, [1, 2, 3, 4, 5])]), .badData),
      ("an IPv6 address of 4 bytes", B.message(28, [B.record([0], 28, [1, 2, 3, 4])]), .cutShort),
      ("an MX without a name", B.message(15, [B.record([0], 15, [0, 10])]), .cutShort),
      ("an MX and a byte", B.message(15, [B.record([0], 15, [0, 10, 0, 0])]), .badData),
      ("a text without a string", B.message(16, [B.record([0], 16, [])]), .cutShort),
      ("a string longer than its text", B.message(16, [B.record([0], 16, [3, 97, 98])]), .cutShort),
      ("a TLSA of 2 bytes", B.message(52, [B.record([0], 52, [3, 1])]), .cutShort),
      ("an SOA that ends early", B.message(6, [B.record([0], 6, [0, 0, 1])]), .cutShort),
      ("another class", B.message(1, [B.record([0], 1, [1, 2, 3, 4], class: 3)]), .badData),
      ("a name that points to itself", B.message(1, [B.record(B.pointer(29), 1, [1, 2, 3, 4])]), .badPointer),
      ("a name that points forward", B.message(1, [B.record(B.pointer(33), 1, [1, 2, 3, 4])]), .badPointer),
      ("a name that points into the header", B.message(1, [B.record(B.pointer(0), 1, [1, 2, 3, 4])]), .badPointer),
      (
        "labels that lead to themselves", B.message(1, [B.record([1, 97] + B.pointer(29), 1, [1, 2, 3, 4])]),
        .badPointer
      ),
      ("a pointer behind the end", B.message(1, [B.record(B.pointer(0x3fff), 1, [1, 2, 3, 4])]), .badPointer),
      ("half a pointer", B.message(1, [[0xc0]]), .cutShort),
      ("a label of a kind that is not used", B.message(1, [B.record([0x41, 0], 1, [1, 2, 3, 4])]), .badLabel),
      ("another", B.message(1, [B.record([0x81, 0], 1, [1, 2, 3, 4])]), .badLabel),
      ("a name of 256 bytes", B.message(1, [B.record(long + [1, 97, 0], 1, [1, 2, 3, 4])]), .nameTooLong),
      (
        "a name that is too long by its pointer", B.message(1, [B.record(long + B.pointer(12), 1, [1, 2, 3, 4])]),
        .nameTooLong
      ),
      (
        "a label across the end of its data", B.message(5, [B.record([0], 5, [5, 97])] + [[97, 97, 97, 97, 0]]),
        .cutShort
      ),
      ("a name without an end", B.message(5, [B.record([0], 5, [1, 97])]), .cutShort),
    ]
    for (what, bytes, expected) in cases { #expect(failure(bytes) == expected, "\(what)") }
    #expect(failure(B.message(1, [B.record(long + [0], 1, [1, 2, 3, 4])])) == nil)
  }

  /// Pointers to pointers, as far back as they go: nobody spends much time on them.
  @Test(.timeLimit(.minutes(1))) func chainsOfPointersAreCutOff() throws {
    let start = B.message(1, []).count
    func chain(_ count: Int) -> [UInt8] {
      var bytes: [UInt8] = []
      for index in 0..<count { bytes += B.pointer(index == 0 ? 12 : start + 11 + 2 * (index - 1)) }
      return bytes
    }
    func last(_ count: Int) -> [UInt8] { B.pointer(start + 11 + 2 * (count - 1)) }
    // One record whose data is a chain; then thousands whose names begin at its end.
    let many = [[UInt8]](repeating: B.record(last(8000), 99, []), count: 4000)
    #expect(failure(B.message(1, [B.record([0], 99, chain(8000))] + many)) == .badPointer)
    // As many as a name may have lead somewhere.
    #expect(failure(B.message(1, [B.record([0], 99, chain(126)), B.record(last(126), 99, [])])) == nil)
    #expect(failure(B.message(1, [B.record([0], 99, chain(127)), B.record(last(127), 99, [])])) == .badPointer)
    let good = [[UInt8]](repeating: B.record(last(126), 99, []), count: 4000)
    #expect(failure(B.message(1, [B.record([0], 99, chain(126))] + good)) == nil)
  }

  /// No bytes, however damaged, do more than fail.
  @Test func damageIsSurvived() throws {
    var generator = Seeded(state: 20_261_129)
    var parsed = 0
    for example in B.examples {
      #expect(failure(example) == nil)
      for end in 0..<example.count { #expect(failure(Array(example.prefix(end))) != nil) }
      for place in example.indices {
        for value in [0, 1, 63, 64, 127, 128, 191, 192, 193, 255, example[place] ^ 1, example[place] &+ 1] as [UInt8] {
          var damaged = example
          damaged[place] = value
          if failure(damaged) == nil { parsed += 1 }
        }
      }
      for _ in 0..<2000 {
        var damaged = example
        for _ in 0...Int.random(in: 0..<6, using: &generator) {
          let place = Int.random(in: 0..<damaged.count, using: &generator)
          switch Int.random(in: 0..<4, using: &generator) {
          case 0: damaged[place] = UInt8.random(in: 0...255, using: &generator)
          case 1: damaged.insert(UInt8.random(in: 0...255, using: &generator), at: place)
          case 2 where damaged.count > 1: damaged.remove(at: place)
          default: damaged.replaceSubrange(place..., with: damaged.prefix(damaged.count - place))
          }
        }
        guard let message = try? DNSMessage(parsing: damaged) else { continue }
        parsed += 1
        // What is asked of it afterwards ends too, and names can be written.
        for kind in [DNSRecord.Kind.a, .mx] { _ = message.answer(message.name, kind, .insecure) }
        for record in message.answers { #expect(record.name.description.utf8.count <= 4 * 255) }
      }
    }
    #expect(parsed > 100)
  }
}

/// What a message says about a question.
@Suite struct DNSAnswerTests {
  private typealias B = DNSBytes
  private let example = DNSName("example.net") ?? .root

  private func answer(
    _ kind: DNSRecord.Kind, _ bytes: [UInt8]
  ) throws -> Result<Resolver.Answer<DNSRecord.Data>, Resolver.Failure> {
    try DNSMessage(parsing: bytes).answer(example, kind, .secure)
  }

  private func failure(_ kind: DNSRecord.Kind, _ bytes: [UInt8]) throws -> Resolver.Failure? {
    if case .failure(let failure) = try answer(kind, bytes) { failure } else { nil }
  }

  @Test func aliasesAreFollowedInAnyOrder() throws {
    let answer = try answer(
      .a,
      B.message(
        1,
        [
          B.record(B.name("b.example"), 1, [192, 0, 2, 1], ttl: [0, 0, 0, 50]),
          B.record(B.name("other.example"), 1, [192, 0, 2, 9], ttl: [0, 0, 0, 1]),
          B.record(B.name("A.example"), 5, B.name("b.EXAMPLE"), ttl: [0, 0, 0, 40]),
          B.record(B.pointer(12), 5, B.name("a.example")),
        ])
    ).get()
    #expect(answer.records == [.a(try #require(IPAddress("192.0.2.1")))])
    #expect(answer.name == DNSName("b.example"))
    #expect(answer.aliases == [example, DNSName("a.example")])
    #expect(answer.ttl == .seconds(40) && answer.security == .secure)
  }

  @Test func aliasesThatLeadNowhere() throws {
    let loop = [B.record(B.pointer(12), 5, B.name("a.example")), B.record(B.name("a.example"), 5, B.pointer(12))]
    #expect(try failure(.a, B.message(1, loop)) == .malformed)
    let chain = (0...17).map { B.record($0 == 0 ? B.pointer(12) : B.name("n\($0)"), 5, B.name("n\($0 + 1)")) }
    #expect(try failure(.a, B.message(1, chain)) == .malformed)
    // An alias of what does not exist: the absence is that of the other name.
    let absent = Resolver.Failure.Absence(
      name: try #require(DNSName("a.example")), security: .secure, ttl: .seconds(30))
    let bytes = { B.message(1, [loop[0]], authorities: [B.soa(minimum: 30)], code: $0) }
    #expect(try failure(.a, bytes(3)) == .noSuchName(absent))
    #expect(try failure(.a, bytes(0)) == .noData(absent))
  }

  @Test func anAliasItselfCanBeAskedFor() throws {
    let bytes = B.message(5, [B.record(B.pointer(12), 5, B.name("a.example"))])
    #expect(try answer(.cname, bytes).get().records == [.cname(try #require(DNSName("a.example")))])
  }

  @Test func whatTheServerSays() throws {
    let a = B.record(B.pointer(12), 1, [192, 0, 2, 1])
    #expect(try failure(.a, B.message(1, [], code: 2)) == .server(code: 2))
    #expect(try failure(.a, B.message(1, [], code: 5)) == .server(code: 5))
    #expect(try failure(.a, B.message(1, [a], flags: 0x8380)) == .malformed)  // truncated
    #expect(try failure(.a, B.message(28, [a])) == .malformed)
    #expect(try failure(.a, B.message(1, [a], question: B.name("example.org"))) == .malformed)
    // Without an SOA record, nothing says for how long it may be kept.
    let absence = Resolver.Failure.Absence(name: example, security: .secure, ttl: .zero)
    #expect(try failure(.a, B.message(1, [], code: 3)) == .noSuchName(absence))
    #expect(try failure(.a, B.message(1, [])) == .noData(absence))
    // Records of other names are not believed.
    #expect(try failure(.a, B.message(1, [B.record(B.name("other"), 1, [1, 2, 3, 4])])) == .noData(absence))
  }

  @Test func addressesOfBothKinds() throws {
    typealias Answer = Resolver.Answer<IPAddress>
    typealias Outcome = Result<Answer, Resolver.Failure>
    let four = try #require(IPAddress("192.0.2.1"))
    let six = try #require(IPAddress("2001:db8::1"))
    func found(_ address: IPAddress, _ security: Resolver.Security, _ ttl: Int = 60) -> Outcome {
      .success(Answer([address], name: example, ttl: .seconds(ttl), security))
    }
    func missing(_ security: Resolver.Security) -> Outcome {
      .failure(.noData(.init(name: example, security: security, ttl: .zero)))
    }
    let both = try Resolver.merged(found(six, .secure, 30), found(four, .secure))
    #expect(both.records == [six, four] && both.ttl == .seconds(30) && both.security == .secure)
    #expect(try Resolver.merged(found(six, .insecure), found(four, .secure)).security == .insecure)
    #expect(try Resolver.merged(missing(.secure), found(four, .secure)).security == .secure)
    #expect(try Resolver.merged(missing(.insecure), found(four, .secure)).security == .insecure)
    #expect(try Resolver.merged(.failure(.timedOut), found(four, .secure)).records == [four])
    #expect(throws: Resolver.Failure.timedOut) { try Resolver.merged(.failure(.timedOut), missing(.secure)) }
    #expect(throws: Resolver.Failure.timedOut) { try Resolver.merged(missing(.secure), .failure(.timedOut)) }
    #expect(throws: Resolver.Failure.noData(.init(name: example, security: .insecure, ttl: .zero))) {
      try Resolver.merged(missing(.insecure), missing(.secure))
    }
  }

  @Test func whichFailuresPass() {
    let absence = Resolver.Failure.Absence(name: .root, security: .insecure, ttl: .zero)
    let all: [(Resolver.Failure, Bool)] = [
      (.noSuchName(absence), true), (.noData(absence), true), (.bogus("x"), false), (.server(code: 2), false),
      (.timedOut, false), (.malformed, false), (.tooLarge, false), (.overloaded, false), (.unusable("x"), false),
      (.cancelled, false),
    ]
    for (failure, isPermanent) in all { #expect(failure.isPermanent == isPermanent, "\(failure)") }
    #expect(Set(all.map { "\($0.0)" }).count == all.count - 1)  // two say "x"
  }
}

/// The same numbers every time.
struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

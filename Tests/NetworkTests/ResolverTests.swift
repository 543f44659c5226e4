import Foundation
import Glibc
import Testing

@testable import Network

/// The resolver with a real name server.
@Suite(.timeLimit(.minutes(2)), .enabled(if: NameServers.dnsmasq != nil, NameServers.howToGetDnsmasq))
struct ResolverTests {
  private let example = DNSName("example.net") ?? .root
  private let host = DNSName("mx1.example.net") ?? .root

  /// A loop and a resolver on it.
  private func resolving(
    _ options: Resolver.Options, _ body: (Resolver, EventLoop) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    let resolver = Resolver(loop: loop, options)
    defer {
      resolver.close()
      loop.stop()
    }
    try await body(resolver, loop)
  }

  private func eventually(
    _ resolver: Resolver, _ condition: ((asked: Int, waiting: Int, underWay: Int)) -> Bool
  ) async throws {
    for _ in 0..<10_000 {
      if condition(await resolver.load()) { return }
      try await Task.sleep(for: .milliseconds(1))
    }
    Issue.record("not within 10 s")
  }

  private func failure<R>(_ body: () async throws(Resolver.Failure) -> R) async -> Resolver.Failure? {
    do throws(Resolver.Failure) {
      _ = try await body()
      return nil
    } catch { return error }
  }

  @Test func recordsOfEachTypeAreFound() async throws {
    let long = [String](repeating: String(repeating: "x", count: 200), count: 4)
    try await NameServers.withDnsmasq([
      "host-record=mx1.example.net,192.0.2.1,2001:db8::1", "host-record=mx1.example.net,192.0.2.2",
      "mx-host=example.net,backup.example.net,20", "mx-host=example.net,MX1.example.net,10",
      "mx-host=example.net,third.example.net,300", "dns-rr=null.example,15,000000",
      "txt-record=example.net,v=spf1 -all", "txt-record=long.example.net,\(long.joined(separator: ","))",
      "cname=www.example.net,alias.example.net", "cname=alias.example.net,mx1.example.net",
      "dns-rr=_25._tcp.mx1.example.net,52,030101AABB", "ptr-record=9.2.0.192.in-addr.arpa,ptr.example.net",
    ]) { server in
      try await resolving(server.options) { resolver, _ in
        let mx = try await resolver.mx(of: example)
        #expect(mx.records.map(\.preference) == [10, 20, 300])
        #expect(mx.records.first?.exchange == host && !mx.isNull)
        #expect(mx.name == example && mx.aliases.isEmpty && mx.security == .insecure)
        #expect(mx.ttl > .zero && mx.ttl <= .seconds(60))
        #expect(try await resolver.mx(of: try #require(DNSName("null.example"))).isNull)

        let four = [try #require(IPAddress("192.0.2.1")), try #require(IPAddress("192.0.2.2"))]
        let six = try #require(IPAddress("2001:db8::1"))
        #expect(Set(try await resolver.ipv4(of: host).records) == Set(four))
        #expect(try await resolver.ipv6(of: host).records == [six])
        let all = try await resolver.addresses(of: host).records
        #expect(all.first == six && Set(all) == Set(four + [six]))

        #expect(try await resolver.txt(of: example).records.map(\.text) == ["v=spf1 -all"])
        let text = try await resolver.txt(of: try #require(DNSName("long.example.net")))
        #expect(text.records.map { $0.strings.map(\.count) } == [[200, 200, 200, 200]])

        let www = try #require(DNSName("www.example.net"))
        let alias = try #require(DNSName("alias.example.net"))
        let address = try await resolver.ipv4(of: www)
        #expect(address.name == host && address.aliases == [www, alias] && address.records.count == 2)
        #expect(try await resolver.alias(of: www).records == [alias])

        let tlsa = DNSRecord.TLSA(usage: 3, selector: 1, matching: 1, association: [0xaa, 0xbb])
        #expect(try await resolver.tlsa(of: host, port: 25).records == [tlsa])
        let pointer = try await resolver.names(of: try #require(IPAddress("192.0.2.9")))
        #expect(pointer.records == [DNSName("ptr.example.net")])
      }
    }
  }

  @Test func whatIsNotThereIsSaidSo() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      try await resolving(server.options) { resolver, _ in
        let absent = try #require(DNSName("absent.example.net"))
        let noSuchName = await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: absent) }
        guard case .noSuchName(let absence) = noSuchName else { return #expect(noSuchName == nil) }
        #expect(absence.name == absent && absence.security == .insecure)
        let noData = await failure { () async throws(Resolver.Failure) in try await resolver.mx(of: host) }
        guard case .noData(let absence) = noData else { return #expect(noData == nil) }
        #expect(absence.name == host)
        #expect(noSuchName?.isPermanent == true && noData?.isPermanent == true)
        // One of two is enough.
        #expect(try await resolver.addresses(of: host).records.map(\.description) == ["192.0.2.1"])
      }
    }
  }

  @Test func answersAreKeptAndServersThatWereAwayAreAskedAgain() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      var options = server.options
      options.timeout = .milliseconds(500)  // libunbound itself would try for 17 s
      try await resolving(options) { resolver, _ in
        _ = try await resolver.ipv4(of: host)
        server.stop()
        #expect(try await resolver.ipv4(of: host).records.count == 1)
        let other = try #require(DNSName("mx1.example.net")?.below("other"))
        let away = await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: other) }
        #expect(away == .timedOut && away?.isPermanent == false)
        try server.launch()
        try await server.answers("example.net", 1)
        // Another name each time: that one failed is remembered for some seconds.
        for attempt in 0..<100 {
          let name = try #require(DNSName("n\(attempt).example.net"))
          let failure = await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: name) }
          if case .noSuchName = failure { return }
          #expect(failure?.isPermanent == false)
          try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("the server is back, and is not asked")
      }
    }
  }

  @Test func aServerThatDoesNotAnswerCostsTheTimeOnly() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      server.freeze()
      var options = server.options
      options.timeout = .milliseconds(300)
      try await resolving(options) { resolver, _ in
        let start = ContinuousClock.now
        let failure = await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: host) }
        #expect(failure == .timedOut && failure?.isPermanent == false)
        #expect(ContinuousClock.now - start >= .milliseconds(290))
        // What nobody waits for any more goes on, and its answer is in the cache then.
        server.thaw()
        for _ in 0..<200 {
          if (try? await resolver.ipv4(of: host).records.count) == 1 { return }
        }
        Issue.record("no answer though the server goes on")
      }
    }
  }

  @Test func aCancelledTaskWaitsNoLonger() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      server.freeze()
      var options = server.options
      options.timeout = .seconds(600)
      try await resolving(options) { resolver, loop in
        let host = host
        let early = Task { try await resolver.ipv4(of: host) }
        let late = Task { try await resolver.ipv4(of: host) }
        early.cancel()
        #expect(await early.result.failure == .cancelled)
        // Also if it is cancelled before it begins, and on the loop.
        let onLoop = Task {
          await loop.run {
            withUnsafeCurrentTask { $0?.cancel() }
            return await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: host) }
          }
        }
        #expect(await onLoop.value == .cancelled)
        server.thaw()
        let answer = try await late.value
        #expect(answer.records.count == 1)
      }
    }
  }

  @Test func questionsBeyondTheLimitWaitOrFail() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      server.freeze()
      var options = server.options
      (options.concurrent, options.waiting, options.timeout) = (2, 3, .seconds(600))
      try await resolving(options) { resolver, _ in
        let tasks = (0..<10).map { number in
          Task { try await resolver.ipv4(of: try #require(DNSName("n\(number).example.net"))) }
        }
        // Five have no place: they fail though the server stands still.
        var failures: [Resolver.Failure?] = []
        await withTaskGroup(of: Resolver.Failure?.self) { group in
          for task in tasks { group.addTask { await task.result.failure } }
          for await failure in group {
            failures.append(failure)
            if failures.count == 5 { server.thaw() }
          }
        }
        #expect(failures.prefix(5).allSatisfy { $0 == .overloaded })
        #expect(failures.dropFirst(5).allSatisfy { if case .noSuchName = $0 { true } else { false } })
      }
    }
  }

  /// libunbound goes on with what was given up. That must not become more and more.
  @Test func questionsThatNobodyWaitsForAreLimitedToo() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      server.freeze()
      var options = server.options
      (options.concurrent, options.timeout) = (1, .seconds(600))
      try await resolving(options) { resolver, _ in
        for number in 0..<50 {
          let task = Task { try await resolver.ipv4(of: try #require(DNSName("n\(number).example.net"))) }
          try await eventually(resolver) { $0.asked + $0.waiting == 1 }
          task.cancel()
          #expect(await task.result.failure == .cancelled)
        }
        #expect(await resolver.load().underWay == 4)
        server.thaw()
        #expect(try await resolver.ipv4(of: host).records.count == 1)
      }
    }
  }

  @Test func whatIsLargerThanAllowedIsNoAnswer() async throws {
    let texts = (10..<30).map { "txt-record=example.net,\(String(repeating: "x", count: 200))\($0)" }
    try await NameServers.withDnsmasq(texts) { server in
      try await resolving(server.options) { resolver, _ in  // by TCP: UDP has no room for it
        let answer = try await resolver.txt(of: example)
        #expect(answer.records.count == 20 && answer.records.allSatisfy { $0.bytes.count == 202 })
      }
      var options = server.options
      options.answerLimit = 1000
      try await resolving(options) { resolver, _ in
        let failure = await failure { () async throws(Resolver.Failure) in try await resolver.txt(of: example) }
        #expect(failure == .tooLarge)
      }
    }
  }

  @Test func closingEndsWhatIsUnderWay() async throws {
    try await NameServers.withDnsmasq(["host-record=mx1.example.net,192.0.2.1"]) { server in
      server.freeze()
      var options = server.options
      options.timeout = .seconds(600)
      options.concurrent = 1
      try await resolving(options) { resolver, _ in
        let (host, example) = (host, example)
        let tasks = [Task { try await resolver.ipv4(of: host) }, Task { try await resolver.ipv4(of: example) }]
        try await eventually(resolver) { $0.asked == 1 && $0.waiting == 1 }
        resolver.close()
        for task in tasks { #expect(await task.result.failure == .cancelled) }
        let failure = await failure { () async throws(Resolver.Failure) in try await resolver.ipv4(of: host) }
        #expect(failure == .cancelled)
      }
    }
  }

  @Test(.enabled(if: geteuid() == 0, "only root may answer on port 53"))
  func theSystemsFileNamesTheServers() async throws {
    let address = try SocketAddress(parsing: "127.0.0.83:53")
    try await NameServers.withDnsmasq(
      ["host-record=mx1.example.net,192.0.2.1", "ptr-record=4.3.2.10.in-addr.arpa,private.example"], at: address
    ) { server in
      var options = Resolver.Options()
      options.serverFile = try server.file("resolv.conf", ["search example.net", "nameserver 127.0.0.83"])
      try await resolving(options) { resolver, _ in
        #expect(try await resolver.ipv4(of: host).records.count == 1)
        // The servers of a company know its private addresses.
        let private4 = try await resolver.names(of: try #require(IPAddress("10.2.3.4")))
        #expect(private4.records == [DNSName("private.example")])
      }
    }
  }
}

/// The resolver without a name server.
@Suite(.timeLimit(.minutes(1))) struct ResolverOptionsTests {
  private func unusable(_ change: (inout Resolver.Options) -> Void) async throws -> String? {
    let loop = try EventLoop()
    defer { loop.stop() }
    var options = Resolver.Options()
    options.serverFile = nil
    change(&options)
    let resolver = Resolver(loop: loop, options)
    defer { resolver.close() }
    var found: [Resolver.Failure?] = []
    do throws(Resolver.Failure) {
      try await resolver.check()
      found.append(nil)
    } catch { found.append(error) }
    guard let failure = found[0] else { return nil }
    do throws(Resolver.Failure) { _ = try await resolver.ipv4(of: DNSName("localhost") ?? .root) } catch {
      #expect(error == failure)
    }
    guard case .unusable(let reason) = failure else { return "\(failure)" }
    return reason
  }

  @Test func optionsThatCannotBeUsedAreNamed() async throws {
    let folder = FileManager.default.temporaryDirectory.path + "/mailflow-dns-\(UUID())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    #expect(try await unusable { _ in } == nil)
    #expect(try await unusable { $0.serverFile = folder + "/absent" }?.contains("/absent") == true)
    #expect(try await unusable { $0.trustAnchorFile = folder + "/absent" }?.contains("/absent") == true)
    for (name, text) in [("empty", ""), ("rubbish", "rubbish\n"), ("other", "example.net. IN A 192.0.2.1\n")] {
      let file = "\(folder)/\(name)"
      try text.write(toFile: file, atomically: true, encoding: .utf8)
      #expect(try await unusable { $0.trustAnchorFile = file }?.contains(file) == true, "\(name)")
    }
    #expect(try await unusable { $0.onlyRecords = ["example.net. 60 IN A rubbish"] }?.contains("rubbish") == true)
  }

  @Test func onlyTheRecordsThatAreGivenExist() async throws {
    let loop = try EventLoop()
    var options = Resolver.Options()
    options.onlyRecords = [
      "example.net. 300 IN MX 10 mx.example.net.", "mx.example.net. 300 IN A 192.0.2.1", "a.test. 60 IN TXT \"x\"",
    ]
    let resolver = Resolver(loop: loop, options)
    defer {
      resolver.close()
      loop.stop()
    }
    let mx = try await resolver.mx(of: try #require(DNSName("example.net")))
    #expect(mx.records.map(\.exchange) == [DNSName("mx.example.net")] && mx.ttl == .seconds(300))
    #expect(try await resolver.ipv4(of: mx.records[0].exchange).records.map(\.description) == ["192.0.2.1"])
    #expect(try await resolver.txt(of: try #require(DNSName("a.test"))).records.map(\.text) == ["x"])
    let other = try #require(DNSName("example.org"))
    do throws(Resolver.Failure) {
      _ = try await resolver.ipv4(of: other)
      Issue.record("\(other) has an address")
    } catch {
      guard case .noSuchName(let absence) = error else { return #expect(error == .cancelled) }
      #expect(absence.name == other)
    }
  }
}

/// DNSSEC, with zones that are really signed.
@Suite(.timeLimit(.minutes(2)), .enabled(if: NameServers.knot != nil, NameServers.howToGetKnot))
struct ResolverSecurityTests {
  private let zones = [
    "example.net": [
      "example.net. 60 MX 10 mx1.example.net.", "mx1.example.net. 60 A 192.0.2.1",
      "_25._tcp.mx1.example.net. 60 TLSA 3 1 1 \(String(repeating: "ab", count: 32))",
      "alias.example.net. 60 CNAME mx1.example.net.",
    ],
    "example.org": ["example.org. 60 MX 10 mx1.example.net."],
  ]

  private func ask(
    _ server: NameServer, _ anchor: String?, _ body: (Resolver) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    var options = server.options
    options.trustAnchorFile = anchor
    let resolver = Resolver(loop: loop, options)
    defer {
      resolver.close()
      loop.stop()
    }
    try await body(resolver)
  }

  private func failure<R>(_ body: () async throws(Resolver.Failure) -> R) async -> Resolver.Failure? {
    do throws(Resolver.Failure) {
      _ = try await body()
      return nil
    } catch { return error }
  }

  @Test func signaturesCount() async throws {
    let (net, org) = (try #require(DNSName("example.net")), try #require(DNSName("example.org")))
    let host = try #require(DNSName("mx1.example.net"))
    let absent = try #require(DNSName("absent.example.net"))
    try await NameServers.withKnot(zones) { server in
      try await ask(server, try server.anchorFile(["example.net"])) { resolver in
        #expect(try await resolver.mx(of: net).security == .secure)
        #expect(try await resolver.addresses(of: host).security == .secure)
        let tlsa = try await resolver.tlsa(of: host, port: 25)
        #expect(tlsa.security == .secure && tlsa.records.map(\.association) == [[UInt8](repeating: 0xab, count: 32)])
        #expect(try await resolver.ipv4(of: try #require(DNSName("alias.example.net"))).security == .secure)
        // That there is nothing is proved too.
        let noName = await failure { () async throws(Resolver.Failure) in try await resolver.tlsa(of: absent, port: 25)
        }
        guard case .noSuchName(let absence) = noName else { return #expect(noName == nil) }
        #expect(absence.security == .secure && absence.ttl > .zero)
        let noData = await failure { () async throws(Resolver.Failure) in try await resolver.mx(of: host) }
        guard case .noData(let absence) = noData else { return #expect(noData == nil) }
        #expect(absence.security == .secure)
        // Signed too, but nothing says so.
        #expect(try await resolver.mx(of: org).security == .insecure)
      }
      try await ask(server, nil) { resolver in
        let answer = try await resolver.mx(of: net)
        #expect(answer.security == .insecure)
      }
      // The last digits of the digests are others.
      let wrong = try server.anchorFile(["example.net"]) {
        $0.split(separator: "\n").map { $0.dropLast(8) + "00000000" }.joined(separator: "\n")
      }
      try await ask(server, wrong) { resolver in
        for name in [net, absent] {
          let failure = await failure { () async throws(Resolver.Failure) in try await resolver.mx(of: name) }
          guard case .bogus(let reason) = failure else { return #expect(failure == nil) }
          #expect(reason.contains("example.net") && failure?.isPermanent == false)
        }
        let answer = try await resolver.mx(of: org)
        #expect(answer.security == .insecure)
      }
    }
  }
}

extension Result where Failure == any Error {
  fileprivate var failure: Resolver.Failure? {
    if case .failure(let error) = self { error as? Resolver.Failure } else { nil }
  }
}

extension Result where Failure == Resolver.Failure {
  fileprivate var failure: Resolver.Failure? {
    if case .failure(let error) = self { error } else { nil }
  }
}

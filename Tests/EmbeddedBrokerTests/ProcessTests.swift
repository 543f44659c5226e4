import Pipeline
import PipelineTesting
import Testing

@testable import EmbeddedBroker

@Suite("Several processes", .timeLimit(.minutes(1)))
struct ProcessTests {
  let folder = TemporaryFolder()

  @Test("a commit of one wakes a consumer of the other, long before it would look by itself")
  func bell() async throws {
    var options = EmbeddedBroker.Options.test
    options.beat = .seconds(3600)
    let one = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: options)
    try await one.make("t")
    let two = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: options)
    let consumer = try await two.member("g", "t")
    for round in 0..<20 {
      async let waiting = consumer.take(1)
      let start = SystemClock.shared.now
      try await one.put("t", "\(round)")
      #expect(try await waiting.map(\.key.text) == ["\(round)"])
      #expect(SystemClock.shared.now - start < .seconds(10))
    }
    await two.close()
    await one.close()
  }

  @Test("a bell is heard, with inotify and without", arguments: [true, false])
  func bells(_ usesInotify: Bool) async throws {
    let (own, other) = (try DataFolder(path: folder.path, ballast: 0), try DataFolder(path: folder.path, ballast: 0))
    let heard = AsyncStream.makeStream(of: Void.self)
    let bell = try #require(Bell(folder: own, usesInotify: usesInotify) { heard.continuation.yield() })
    var rings = heard.stream.makeAsyncIterator()
    await rings.next()  // It looks once when it begins: what came before is not missed.
    for _ in 0..<10 {
      other.ring()
      await rings.next()
    }
    let late = try DataFolder(path: folder.path, ballast: 0)
    await rings.next()
    late.ring()
    await rings.next()
    bell.stop()
  }

  @Test("both append to one partition, and no offset is given out twice")
  func append() async throws {
    let one = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    try await one.make("t")
    let two = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    let offsets = try await withThrowingTaskGroup(of: [Int64].self) { group in
      for broker in [one, two] {
        group.addTask {
          var offsets: [Int64] = []
          for number in 0..<50 {
            let record = OutgoingRecord(
              topic: "t", key: .empty, headers: Headers(),
              value: .bytes(Bytes(String(repeating: "v", count: number % 2 * 3000))))
            offsets += try await broker.produce([record, record]).map(\.offset)
          }
          return offsets
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    #expect(offsets.sorted() == Array(0..<200))
    #expect(try await one.values("t").count == 200)
    await two.close()
    await one.close()
  }

  @Test("many open a new folder at the same moment")
  func opening() async throws {
    for _ in 0..<5 {
      let folder = TemporaryFolder()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<4 {
          group.addTask {
            let broker = try await EmbeddedBroker.open(
              folder: folder.path, clock: SystemClock.shared, options: .test)
            try await broker.make("t", "t\(number)")
            try await broker.put("t", "\(number)")
            await broker.close()
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("a topic that another process deletes and makes anew is noticed")
  func deleted() async throws {
    let one = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    let two = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    try await one.make("t")
    try await two.put("t", "old")
    let consumer = try await two.member("g", "t")
    _ = try await consumer.take(1)
    try await one.delete(["t"])
    #expect(await kind { try await two.put("t", "x") } == .unknownTopic)
    try await one.make("t", partitions: 3)
    try await two.produce([
      OutgoingRecord(topic: "t", partition: 2, key: .empty, headers: Headers(), value: .bytes(Bytes("new")))
    ])
    #expect(try await one.watermarks([TopicPartition("t", 2)])[0].end == 1)
    await two.close()
    await one.close()
  }

  @Test("one that is silent for a lease loses its partitions; when it is back it is told, and is a member again")
  func silent() async throws {
    let clock = ManualClock()
    let broker = try EmbeddedBroker.inMemory(clock: clock, options: .test)
    try await broker.make("t", partitions: 2)
    let sibling = try broker.sibling()
    let away = try await sibling.member("g", "t", as: "away")
    guard case .assigned(let all) = try await away.next(limit: 1) else { throw BrokerError(.other, "no assignment") }
    #expect(all.count == 2)
    sibling.queue.wakes.remove(sibling.heart)
    let present = try await broker.member("g", "t", as: "present")
    let taken = try await withThrowingTaskGroup(of: [TopicPartition]?.self) { group in
      group.addTask {
        var taken: [TopicPartition] = []
        while taken.count < 2 {
          if case .assigned(let partitions) = try await present.next(limit: 1) { taken += partitions }
        }
        return taken
      }
      group.addTask {
        for _ in 0..<100_000 {
          if Task.isCancelled { return nil }
          if !clock.advanceToNext() { await Task.yield() }
        }
        return nil
      }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
    #expect(taken?.count == 2)
    guard case .lost(let lost) = try await away.next(limit: 1) else { throw BrokerError(.other, "it was not told") }
    #expect(lost.count == 2)
    #expect(
      await kind {
        try await away.settle(
          Settlement(progress: [.init(topicPartition: all[0], generation: 1, next: 0, settled: [])]))
      } == .fenced)
    #expect(Set(try await broker.members(group: "g", in: ["t"]).values.compactMap { $0 }).contains("present"))
    guard case .revoking(let half) = try await present.next(limit: 1) else { throw BrokerError(.other, "not shared") }
    try await present.release(half)
    guard case .assigned(let again) = try await away.next(limit: 1) else { throw BrokerError(.other, "no assignment") }
    #expect(again == half)
    await broker.close()
  }

  @Test("after a crash nobody who waited is resumed, and everything durable is there")
  func crash() async throws {
    let clock = ManualClock()
    let broker = try EmbeddedBroker.inMemory(clock: clock, options: .test)
    try await broker.make("t")
    let consumer = try await broker.member("g", "t")
    try await broker.put("t", "a", "b")
    let records = try await consumer.take(2)
    let next = try broker.afterCrash()
    let successor = try await next.member("g", "t")
    #expect(try await successor.take(2).map(\.offset) == [0, 1])
    #expect(await kind { try await consumer.done(records) } == .fenced)
    await next.close()
  }
}

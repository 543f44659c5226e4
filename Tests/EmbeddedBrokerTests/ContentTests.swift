import EmbeddedBroker
import Pipeline
import PipelineTesting
import SQLite
import Testing

@Suite("Content", .timeLimit(.minutes(1)))
struct ContentTests {
  let folder = TemporaryFolder()
  let large = String(repeating: "content ", count: 1000)

  private func open(_ clock: any PipelineClock = SystemClock.shared) async throws -> EmbeddedBroker {
    try await EmbeddedBroker.open(folder: folder.path, clock: clock, options: .test)
  }

  @Test("is written once over seven hops, and freed at the end")
  func chain() async throws {
    let broker = try await open()
    for hop in 0...7 { try await broker.make("t\(hop)") }
    try await broker.produce(
      (0..<20).map {
        OutgoingRecord(topic: "t0", key: Bytes("\($0)"), headers: Headers(), value: .bytes(Bytes("\($0) \(large)")))
      })
    for hop in 0..<7 {
      let consumer = try await broker.member("g\(hop)", "t\(hop)", loadsValues: false)
      try await consumer.pass(20, to: "t\(hop + 1)")
      #expect(try count("content", in: folder) == 20)
      #expect(try count("share", in: folder) == 0, "one reference each: nothing is counted")
      #expect(try count("released", in: folder) == 0)
    }
    #expect(try await broker.values("t7") == (0..<20).map { "\($0) \(large)" })
    let last = try await broker.member("g7", "t7", loadsValues: false)
    try await last.done(try await last.take(20))
    #expect(try count("content", in: folder) == 0)
    await broker.close()
  }

  @Test("of a message that is split stays until the last part is done")
  func split() async throws {
    let broker = try await open()
    try await broker.make("in", "a", "b", "c")
    try await broker.put("in", large)
    try await broker.member("in", "in").pass(1, to: "a", "b", "c")
    #expect(try count("content", in: folder) == 1)
    for (done, topic) in ["a", "b", "c"].enumerated() {
      let consumer = try await broker.member("g", topic, as: topic)
      let records = try await consumer.take(1)
      #expect(try await records[0].value().text == large)
      try await consumer.done(records)
      #expect(try count("content", in: folder) == (done < 2 ? 1 : 0))
      await consumer.close()
    }
    #expect(try count("share", in: folder) == 0)
    await broker.close()
  }

  @Test("stays while any group has not settled its record")
  func groups() async throws {
    let broker = try await open()
    try await broker.make("t")
    try await broker.put("t", large)
    let (one, two) = (try await broker.member("one", "t"), try await broker.member("two", "t", loadsValues: false))
    try await one.done(try await one.take(1))
    #expect(try count("content", in: folder) == 1)
    let records = try await two.take(1)
    #expect(try await records[0].value().text == large)
    try await two.done(records)
    #expect(try count("content", in: folder) == 0)
    #expect(await kind { _ = try await records[0].value() } == .outOfRange)
    // It cannot be passed on either, and what was to go with it is not appended.
    let copy = OutgoingRecord(topic: "t", key: .empty, headers: Headers(), value: .same(records[0]))
    let other = OutgoingRecord(topic: "t", key: .empty, headers: Headers(), value: .bytes(Bytes("x")))
    #expect(await kind { try await broker.produce([other, copy]) } == .outOfRange)
    #expect(try await broker.watermarks([TopicPartition("t", 0)])[0].end == 1)
    await broker.close()
  }

  @Test("never gets the id of one that was deleted: a record in hand must not come to show another's value")
  func ids() async throws {
    let broker = try await open()
    try await broker.make("t")
    try await broker.put("t", large)
    let record = try await broker.read(TopicPartition("t", 0), from: 0, limit: 1)[0]
    let consumer = try await broker.member("g", "t")
    try await consumer.done(try await consumer.take(1))
    #expect(try count("content", in: folder) == 0)
    // Another process, which has counted nothing yet.
    let other = try await open()
    try await other.put("t", "other " + large)
    #expect(await kind { _ = try await record.value() } == .outOfRange)
    await other.close()
    await broker.close()
  }

  @Test("of a settled record can be read within the window, and passed on again")
  func window() async throws {
    let clock = ManualClock()
    let broker = try await open(clock)
    try await broker.make("t", "copy", window: .seconds(3600))
    try await broker.put("t", large)
    let consumer = try await broker.member("g", "t")
    try await consumer.done(try await consumer.take(1))
    #expect(try count("released", in: folder) == 1)
    #expect(try await broker.values("t") == [large])
    let old = try await broker.read(TopicPartition("t", 0), from: 0, limit: 1)
    try await broker.produce([
      OutgoingRecord(topic: "copy", key: .empty, headers: Headers(), value: .same(old[0]))
    ])
    #expect(try count("released", in: folder) == 0, "it has a reference again")
    clock.advance(by: .seconds(7200))
    try await broker.put("copy", "something, so that there is a commit")
    #expect(try await broker.watermarks([TopicPartition("t", 0)])[0].first == 1, "the settled record is gone")
    #expect(try await broker.values("copy")[0] == large)
    await broker.close()
  }

  @Test("is freed with its topic, and with records that time or a newer one of the key removes")
  func otherRetentions() async throws {
    let clock = ManualClock()
    let broker = try await open(clock)
    try await broker.create([
      TopicSpecification("time", retention: .time(.seconds(60))),
      TopicSpecification("latest", retention: .compacted),
      TopicSpecification("kept", retention: .unlimited),
    ])
    try await broker.put("time", large)
    for version in 0..<3 {
      try await broker.produce([
        OutgoingRecord(topic: "latest", key: Bytes("k"), headers: Headers(), value: .bytes(Bytes("\(version)\(large)")))
      ])
    }
    try await broker.put("kept", large)
    #expect(try count("content", in: folder) == 3)
    #expect(try await broker.values("latest") == ["2\(large)"])
    let group = try await broker.member("g", "time")
    try await group.done(try await group.take(1))
    #expect(try count("content", in: folder) == 3, "settled or not, it stays its time")
    clock.advance(by: .seconds(120))
    try await broker.put("latest", "x")
    #expect(try count("content", in: folder) == 2)
    try await broker.delete(["kept", "latest"])
    #expect(try count("content", in: folder) == 0)
    await broker.close()
  }

  @Test("survives a change of retention in both directions")
  func changed() async throws {
    let broker = try await open()
    try await broker.make("t", "next")
    try await broker.put("t", "a" + large)
    try await broker.member("g", "t").pass(1, to: "next")
    // The record in `t` has given its content away: ageing must not take it from `next`.
    try await broker.create([TopicSpecification("t", retention: .unlimited)])
    try await broker.put("t", "b" + large)
    let consumer = try await broker.member("g", "t")
    try await consumer.done(try await consumer.take(1))
    #expect(try count("content", in: folder) == 2)
    try await broker.make("t")
    #expect(try count("content", in: folder) == 1, "the settled one holds its content no longer")
    #expect(try await broker.values("next") == ["a" + large])
    try await broker.delete(["t"])
    #expect(try await broker.values("next") == ["a" + large])
    await broker.close()
  }
}

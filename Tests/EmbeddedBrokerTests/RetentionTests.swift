import EmbeddedBroker
import Pipeline
import PipelineTesting
import Testing

@Suite("Retention", .timeLimit(.minutes(1)))
struct RetentionTests {
  let folder = TemporaryFolder()
  let clock = ManualClock()
  let partition = TopicPartition("t", 0)

  private func open() async throws -> EmbeddedBroker {
    try await EmbeddedBroker.open(folder: folder.path, clock: clock, options: .test)
  }

  @Test("offsets are not given out again after everything was trimmed and the broker opened anew")
  func offsets() async throws {
    var broker = try await open()
    try await broker.make("t", "out")
    try await broker.put("t", "a", "b", "c")
    var consumer = try await broker.member("g", "t")
    try await consumer.done(try await consumer.take(3))
    clock.advance(by: .seconds(10))
    try await broker.put("out", "so that there is a commit")
    #expect(try await broker.watermarks([partition]) == [Watermarks(topicPartition: partition, first: 3, end: 3)])
    await broker.close()
    broker = try await open()
    #expect(try await broker.watermarks([partition])[0].end == 3)
    #expect(
      try await broker.produce([
        OutgoingRecord(topic: "t", key: .empty, headers: Headers(), value: .bytes(Bytes("d")))
      ]).map(\.offset) == [3])
    consumer = try await broker.member("g", "t")
    #expect(try await consumer.take(1).map(\.offset) == [3])
    await broker.close()
  }

  @Test("many records are trimmed in steps while others are written")
  func steps() async throws {
    let broker = try await open()
    try await broker.make("t", "out")
    let consumer = try await broker.member("g", "t")
    for _ in 0..<5 {
      try await broker.produce(
        (0..<1000).map {
          OutgoingRecord(topic: "t", key: .empty, headers: Headers(), value: .bytes(Bytes("\($0)")))
        })
      try await consumer.done(try await consumer.take(1000))
    }
    for _ in 0..<5 { try await broker.put("out", "x") }
    let marks = try await broker.watermarks([partition])[0]
    #expect(marks.end == 5000)
    #expect(marks.first >= 4000, "\(marks.first) of 5000 are gone")
    await broker.close()
  }

  @Test("what a group has not settled stays, and without a group everything")
  func unsettled() async throws {
    let broker = try await open()
    try await broker.make("t", "out")
    try await broker.put("t", "a", "b")
    clock.advance(by: .seconds(100_000))
    try await broker.put("out", "x")
    #expect(try await broker.values("t") == ["a", "b"], "no group")
    let (fast, slow) = (try await broker.member("fast", "t"), try await broker.member("slow", "t"))
    try await fast.done(try await fast.take(2))
    clock.advance(by: .seconds(100_000))
    try await broker.put("out", "x")
    #expect(try await broker.values("t") == ["a", "b"], "the slow group has settled nothing")
    let records = try await slow.take(2)
    try await slow.done(Array(records.prefix(1)))
    await slow.close()
    clock.advance(by: .seconds(100_000))
    try await broker.put("out", "x")
    #expect(try await broker.values("t") == ["b"], "the slow group has settled one, and is away")
    await broker.close()
  }

  @Test("a group whose next record is gone is told, and can go on where it says so")
  func outOfRange() async throws {
    let broker = try await open()
    try await broker.create([
      TopicSpecification("t", retention: .time(.seconds(60))), TopicSpecification("out", retention: .unlimited),
    ])
    try await broker.put("t", "a", "b", "c")
    let consumer = try await broker.member("g", "t")
    try await consumer.done(Array(try await consumer.take(3).prefix(1)))
    await consumer.close()
    clock.advance(by: .seconds(3600))
    try await broker.put("out", "x")
    try await broker.put("t", "d")
    let again = try await broker.member("g", "t")
    guard case .assigned = try await again.next(limit: 1) else { throw BrokerError(.other, "no assignment") }
    #expect(await kind { _ = try await again.next(limit: 1) } == .outOfRange)
    #expect(await kind { _ = try await again.next(limit: 1) } == .outOfRange, "never a silent jump")
    try await again.seek(partition, to: 3)
    #expect(try await again.take(1).map(\.offset) == [3])
    await broker.close()
  }

  @Test("a compacted topic keeps the last of each key, and offsets have gaps")
  func compacted() async throws {
    let broker = try await open()
    try await broker.create([TopicSpecification("t", retention: .compacted)])
    func put(_ key: String, _ value: String) async throws {
      try await broker.produce([
        OutgoingRecord(topic: "t", key: Bytes(key), headers: Headers(), value: .bytes(Bytes(value)))
      ])
    }
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2"), ("c", "")] {
      try await put(key, value)
    }
    let records = try await broker.read(partition, from: 0, limit: 10)
    #expect(records.map(\.key.text) == ["a", "b", "c"])
    #expect(records.map(\.offset) == [2, 4, 5])
    let consumer = try await broker.member("g", "t")
    #expect(try await consumer.take(3).map(\.offset) == [2, 4, 5])
    await broker.close()
  }
}

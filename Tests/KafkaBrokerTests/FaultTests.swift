import Foundation
import Glibc
import KafkaBroker
import Pipeline
import Testing

/// A broker that stops answering in the middle of settlements. It is stopped for everybody, so `Scripts/test` runs these
/// apart from the others.
@Suite(
  "Kafka faults", .enabled(if: TestKafka.process != nil, "run by Scripts/test, when it has the broker to itself"),
  .serialized, .timeLimit(.minutes(1)))
struct FaultTests {
  private static let count = 20

  private func open(
    _ guarantee: Topology.Guarantee = .exactlyOnce, patience: Duration = .milliseconds(400),
    properties: [String: String] = [:]
  ) async throws -> KafkaBroker {
    var options = TestKafka.options(.cooperative, guarantee)
    options.patience = patience
    options.properties.merge(properties) { $1 }
    let deadline = SystemClock.shared.now + .seconds(20)
    while true {
      do { return try await KafkaBroker.open(options) } catch {
        guard error.isTransient, SystemClock.shared.now < deadline else { throw error }
      }
    }
  }

  /// Passes on what it gets until everything is at the target, joining again whenever it has to.
  private func passAll(from source: String, to target: String, _ broker: KafkaBroker, onFirst: () async -> Void)
    async throws -> [BrokerError.Kind]
  {
    var kinds: [BrokerError.Kind] = []
    var isFirst = true
    let deadline = SystemClock.shared.now + .seconds(40)
    while SystemClock.shared.now < deadline {
      let consumer: any Consumer
      do {
        consumer = try await broker.join(Membership(group: source, topics: [source], instance: "one"))
      } catch {
        guard error.kind == .unavailable || error.kind == .unknownResult else { throw error }
        continue
      }
      do {
        while try await broker.committed(group: source, in: [source])[TopicPartition(source, 0)] ?? 0 < Self.count {
          guard case .records(let records) = try await consumer.next(limit: 5), let last = records.last else {
            continue
          }
          let outputs = records.map {
            OutgoingRecord(topic: target, key: $0.key, headers: Headers(), value: .same($0))
          }
          let step = Settlement.Progress(
            topicPartition: last.topicPartition, generation: last.generation, next: last.offset + 1, settled: records)
          async let settled: Void = consumer.settle(Settlement(outputs: outputs, progress: [step]))
          if isFirst { await onFirst() }
          isFirst = false
          try await settled
        }
        await consumer.close()
        return kinds
      } catch let error as BrokerError {
        kinds.append(error.kind)
        await consumer.close()
      }
    }
    throw BrokerError(.other, "not everything came through: \(kinds)")
  }

  /// Stops the broker now, and lets it go on after a time longer than anybody's patience, in a task of its own.
  private func freeze(_ process: pid_t) {
    kill(process, SIGSTOP)
    Task {
      try? await SystemClock.shared.sleep(for: .milliseconds(2000))
      kill(process, SIGCONT)
    }
  }

  private func texts(in topic: String, _ broker: KafkaBroker) async throws -> [String] {
    var found: [String] = []
    var offset: Int64 = 0
    while case let more = try await broker.read(TopicPartition(topic, 0), from: offset, limit: 100),
      let last = more.last
    {
      for record in more { found.append(try await record.value().text) }
      offset = last.offset + 1
    }
    return found
  }

  /// A bit that falls over on a broker's disk.
  @Test("what a broker's disk has damaged is reported, and neither served nor skipped")
  func damaged() async throws {
    let topic = "damaged-\(SystemRandom().next())"
    let broker = try await open(patience: .seconds(10))
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    // Each with a checksum of its own.
    for text in ["first", "second", "third"] { try await broker.produce([record(topic, text)]) }
    let file = try #require(
      FileHandle(forUpdatingAtPath: "\(TestKafka.folder())/\(topic)-0/00000000000000000000.log"))
    let place = try #require(try file.readToEnd()?.firstRange(of: Data("second".utf8)))
    try file.seek(toOffset: UInt64(place.lowerBound))
    try file.write(contentsOf: Data("S".utf8))
    try file.close()

    let consumer = try await broker.join(Membership(group: topic, topics: [topic], instance: "one"))
    var seen: [String] = []
    let error = await #expect(throws: BrokerError.self) {
      while true {
        guard case .records(let records) = try await consumer.next(limit: 100) else { continue }
        for record in records { seen.append(try await record.value().text) }
      }
    }
    #expect(error?.kind == .corrupt)
    #expect(seen == ["first"])
    #expect(try await broker.read(TopicPartition(topic, 0), from: 0, limit: 100).count == 1)
    let reading = await #expect(throws: BrokerError.self) {
      try await broker.read(TopicPartition(topic, 0), from: 1, limit: 100)
    }
    #expect(reading?.kind == .corrupt)
    // Whoever has looked at it can go on behind.
    try await consumer.seek(TopicPartition(topic, 0), to: 2)
    while true {
      guard case .records(let records) = try? await consumer.next(limit: 100) else { continue }
      #expect(try await records.first?.value().text == "third")
      break
    }
    await broker.close()
  }

  private func record(_ topic: String, _ text: String) -> OutgoingRecord {
    OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(Bytes(text)))
  }

  /// Passes records on while the broker freezes in the middle of the first settlement.
  private func passFrozen(_ guarantee: Topology.Guarantee, after milliseconds: Int) async throws -> [String] {
    let process = try #require(TestKafka.process)
    let name = "fault-\(SystemRandom().next())"
    let target = "\(name)-out"
    let broker = try await open(guarantee)
    try await broker.create([
      TopicSpecification(name, retention: .unlimited), TopicSpecification(target, retention: .unlimited),
    ])
    try await broker.produce(Self.values.map { record(name, $0) })
    defer { kill(process, SIGCONT) }
    // When in the settlement the broker freezes is the argument; nothing tells of that moment.
    let kinds = try await passAll(from: name, to: target, broker) {
      try? await SystemClock.shared.sleep(for: .milliseconds(milliseconds))
      freeze(process)
    }
    print("frozen after \(milliseconds) ms: \(kinds)")
    let found = try await texts(in: target, broker)
    await broker.close()
    return found
  }

  private static let values = (0..<count).map { "\($0)" }

  @Test("a settlement that was not answered is there once or not at all", arguments: [0, 1, 2, 3, 4, 6])
  func frozen(milliseconds: Int) async throws {
    #expect(try await passFrozen(.exactlyOnce, after: milliseconds) == Self.values)
  }

  @Test("without transactions, what was not answered is there once or more", arguments: [0, 1, 2])
  func frozenAtLeastOnce(milliseconds: Int) async throws {
    let found = try await passFrozen(.atLeastOnce, after: milliseconds)
    #expect(Set(found) == Set(Self.values))
    // The first of each are in order: nothing is overtaken.
    var seen: Set<String> = []
    #expect(found.filter { seen.insert($0).inserted } == Self.values)
  }

  /// How many threads this process has.
  private var threads: Int {
    var count = 0
    guard let folder = opendir("/proc/self/task") else { return 0 }
    while readdir(folder) != nil { count += 1 }
    closedir(folder)
    return count
  }

  /// librdkafka ends the process when a coordinator comes back to a question that has timed out.
  @Test("questions about groups that were given up do no harm, and leave nothing behind")
  func frozenQuestions() async throws {
    let process = try #require(TestKafka.process)
    let topic = "fault-\(SystemRandom().next())"
    let broker = try await open()
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    let before = threads
    defer { kill(process, SIGCONT) }
    kill(process, SIGSTOP)
    for index in 0..<6 {
      let error = await #expect(throws: BrokerError.self) {
        // Groups whose coordinators nobody has asked for yet.
        if index % 2 == 0 {
          _ = try await broker.committed(group: "\(topic)-\(index)", in: [topic])
        } else {
          _ = try await broker.members(group: "\(topic)-\(index)", in: [topic])
        }
      }
      #expect(error?.kind == .unavailable)
    }
    kill(process, SIGCONT)
    let deadline = SystemClock.shared.now + .seconds(30)
    while true {
      do {
        #expect(try await broker.committed(group: topic, in: [topic]).isEmpty)
        if threads <= before + 8 { break }
      } catch { try #require(error.kind == .unavailable) }
      try #require(SystemClock.shared.now < deadline, "\(threads) threads, \(before) before")
      try await SystemClock.shared.sleep(for: .milliseconds(100))
    }
    await broker.close()
  }

  @Test("a single record that was refused is not there, and one that was accepted is, once", arguments: [0, 1, 3])
  func frozenProduce(milliseconds: Int) async throws {
    let process = try #require(TestKafka.process)
    let topic = "fault-\(SystemRandom().next())"
    let broker = try await open(patience: .seconds(1))
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    try await broker.produce([record(topic, "first")])
    defer { kill(process, SIGCONT) }
    let outcomes = await withTaskGroup(of: (String, BrokerError.Kind?).self) { group in
      for index in 0..<200 {
        group.addTask {
          try? await SystemClock.shared.sleep(for: .microseconds(index * 50))
          do throws(BrokerError) { try await broker.produce([record(topic, "\(index)")]) } catch {
            return ("\(index)", error.kind)
          }
          return ("\(index)", nil)
        }
      }
      try? await SystemClock.shared.sleep(for: .milliseconds(milliseconds))
      freeze(process)
      return await group.reduce(into: [:]) { $0[$1.0] = .some($1.1) }
    }
    let deadline = SystemClock.shared.now + .seconds(20)
    while true {
      do throws(BrokerError) {
        try await broker.produce([record(topic, "last")])
        break
      } catch { try #require(error.isTransient || error.kind == .unknownResult) }
      try #require(SystemClock.shared.now < deadline)
    }
    let found = try await texts(in: topic, broker)
    let counts = Dictionary(found.map { ($0, 1) }, uniquingKeysWith: +)
    print(
      "frozen after \(milliseconds) ms: \(Dictionary(outcomes.values.map { ($0?.rawValue ?? "ok", 1) }, uniquingKeysWith: +))"
    )
    for (text, kind) in outcomes {
      switch kind {
      case nil: #expect(counts[text] == 1)
      case .unavailable: #expect(counts[text] == nil, "\(text) was said not to be there")
      case .unknownResult: #expect(counts[text] ?? 0 <= 1)
      default: Issue.record("\(text): \(String(describing: kind))")
      }
    }
    #expect(outcomes.count == 200)
    await broker.close()
  }

  @Test(
    "more than a producer's queue holds is given up while the broker hangs, whole",
    arguments: [Topology.Guarantee.exactlyOnce, .atLeastOnce])
  func frozenQueue(guarantee: Topology.Guarantee) async throws {
    let process = try #require(TestKafka.process)
    let topic = "fault-\(SystemRandom().next())"
    let broker = try await open(guarantee, patience: .seconds(1), properties: ["queue.buffering.max.messages": "10"])
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    try await broker.produce([record(topic, "first")])
    defer { kill(process, SIGCONT) }
    kill(process, SIGSTOP)
    // Nothing that is answered makes room: only time ends the wait, ours or librdkafka's.
    let error = await #expect(throws: BrokerError.self) {
      try await broker.produce((0..<100).map { record(topic, "\($0)") })
    }
    #expect(error?.kind == .unavailable || error?.kind == .unknownResult)
    kill(process, SIGCONT)
    let deadline = SystemClock.shared.now + .seconds(20)
    while true {
      do throws(BrokerError) {
        try await broker.produce((0..<100).map { record(topic, "again \($0)") })
        break
      } catch { try #require(error.isTransient || error.kind == .unknownResult) }
      try #require(SystemClock.shared.now < deadline)
    }
    let found = try await texts(in: topic, broker)
    #expect(found.suffix(100) == (0..<100).map { "again \($0)" })
    if guarantee == .exactlyOnce { #expect(found.count == 101) }
    await broker.close()
  }
}

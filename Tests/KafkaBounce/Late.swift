import Glibc
import KafkaBroker
import Pipeline

/// One record is late while others were sent and not answered: none of them may come twice.
///
/// Of two brokers the second is frozen, so that what is sent to its topics waits; 2 s later the first is too, in the
/// middle of what it gets. The records of the second's topics are late while those of the first's, which may be in the
/// frozen broker's socket, have time left. Then both are thawed.
struct Late {
  private static let topics = 16
  private static let patience = Duration.seconds(4)

  let plan: Plan
  let brokers: (first: pid_t, second: pid_t)

  private enum Fate { case taken, refused, unknown }

  /// False if a record came twice, an acknowledged one is missing, or a refused one is there.
  func judge() async throws -> Bool {
    let names = (0..<Self.topics).map { "\(plan.name).late-\(plan.seed)-\($0)" }
    let broker = try await connect(plan) { options in
      options.patience = Self.patience
      options.properties["socket.timeout.ms"] = "800"
      options.topicProperties["replication"] = "1"
    }
    try await broker.create(names.map { TopicSpecification($0, retention: .unlimited) })
    for name in names { try await broker.produce([record(name, "first")]) }
    defer {
      kill(brokers.first, SIGCONT)
      kill(brokers.second, SIGCONT)
    }
    let fates = try await pour(names, into: broker)
    var (twice, lost, wrong) = (0, 0, 0)
    for name in names {
      let found = try await texts(in: name, broker)
      twice += found.count - Set(found).count
      for (text, fate) in fates[name] ?? [] {
        if fate == .taken, !found.contains(text) { lost += 1 }
        if fate == .refused, found.contains(text) { wrong += 1 }
      }
    }
    await broker.close()
    let unknown = fates.values.joined().count { $0.1 == .unknown }
    say("verdict unknown=\(unknown) lost=\(lost) twice=\(twice) wrong=\(wrong)")
    return unknown > 0 && lost + twice + wrong == 0
  }

  private func pour(_ names: [String], into broker: KafkaBroker) async throws -> [String: [(String, Fate)]] {
    try await withThrowingTaskGroup(of: (String, [(String, Fate)]).self) { group in
      kill(brokers.second, SIGSTOP)
      for name in names { group.addTask { (name, [("second", try await send("second", to: name, broker))]) } }
      try await SystemClock.shared.sleep(for: .seconds(2))
      let end = SystemClock.shared.now + .milliseconds(300)
      for name in names {
        group.addTask {
          var sent: [(String, Fate)] = []
          while SystemClock.shared.now < end {
            let text = "\(sent.count)"
            sent.append((text, try await send(text, to: name, broker)))
          }
          return (name, sent)
        }
      }
      try await SystemClock.shared.sleep(for: .milliseconds(200))
      kill(brokers.first, SIGSTOP)
      try await SystemClock.shared.sleep(for: .milliseconds(2500))
      kill(brokers.first, SIGCONT)
      kill(brokers.second, SIGCONT)
      return try await group.reduce(into: [:]) { $0[$1.0, default: []] += $1.1 }
    }
  }

  private func send(_ text: String, to topic: String, _ broker: KafkaBroker) async throws -> Fate {
    do throws(BrokerError) {
      try await broker.produce([record(topic, text)])
      return .taken
    } catch {
      if error.kind == .unknownResult { return .unknown }
      guard error.isTransient else { throw error }
      return .refused
    }
  }

  private func record(_ topic: String, _ text: String) -> OutgoingRecord {
    OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(Bytes(text)))
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
}

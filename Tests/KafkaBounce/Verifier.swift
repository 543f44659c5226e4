import Glibc
import KafkaBroker
import Pipeline

/// Reads the ends of the pipeline as they come, and judges when the driver has written `end` behind the numbers that
/// were acknowledged: each of them ended as the seed says, once; nothing else is there.
final class Verifier {
  private let plan: Plan
  private let tail: Tail
  private let acknowledged: String
  private var isFed = false
  /// Numbers that were acknowledged and have not ended as they should yet.
  private var waiting: Set<Int> = []
  private var expected: [Int] = []
  private var file: Int32 = -1
  private var line: [UInt8] = []

  private var ended: [MessageID: Int] = [:]
  /// Where each that ended has been, and when: what came twice is told of with both.
  private var ways: [MessageID: String] = [:]
  private var died: [MessageID: [String]] = [:]
  /// When `order` worked on a message, at which attempt.
  private var worked: [MessageID: (began: Int64, ended: Int64, attempt: Int)] = [:]
  private var wrong: [String] = []

  init(_ plan: Plan, _ broker: KafkaBroker, acknowledged: String) {
    self.plan = plan
    tail = Tail(broker)
    self.acknowledged = acknowledged
  }

  func verify() async throws -> Bool {
    let topology = plan.topology
    let stages = topology.flows[0].stages.map { topology.topics(Plan.flow, $0) }
    try await tail.follow([topology.traceTopic] + stages.map(\.dead))
    say("ready")
    var quietSince: Int64?
    while true {
      let new = try await tail.new()
      for record in new { take(record) }
      readAcknowledged()
      waiting = waiting.filter { !hasEnded(Fate($0, seed: plan.seed)) }
      say("progress \(expected.count) \(expected.count - waiting.count) \(ended.count + died.count)")
      let now = monotonicNanoseconds()
      if !new.isEmpty || !isFed || !waiting.isEmpty { quietSince = nil } else if quietSince == nil { quietSince = now }
      // What must not come may still come.
      if let since = quietSince, now - since > 6_000_000_000 { break }
      try await SystemClock.shared.sleep(for: .milliseconds(500))
    }
    return try await judge(stages[2].work)
  }

  private func take(_ record: Record) {
    guard let message = try? MessageCodec.decode(record, store: nil) else {
      return wrong.append("\(record.topicPartition) \(record.offset) is no message")
    }
    let words = record.topicPartition.topic.split(separator: ".")
    if words.last == "dead" {
      died[message.id, default: []].append(String(words[words.count - 2]))
      return
    }
    ended[message.id, default: 0] += 1
    let way = message.history.map { "\($0.kind) \($0.stage) \($0.at.microseconds)" }.joined(separator: ", ")
    if let first = ways.updateValue(way, forKey: message.id) {
      wrong.append("\(message.id) came twice: by \(first); and by \(way)")
    }
    if Set(message.done).count != message.done.count { wrong.append("\(message.id) passed a stage twice") }
    let times = message.annotation(SeededStage.worked)?.split(separator: " ").compactMap { Int64($0) } ?? []
    let attempt = message.history.first { $0.stage == "order" && $0.kind == .done }?.attempt ?? 1
    if times.count == 2 { worked[message.id] = (times[0], times[1], attempt) }
  }

  private func readAcknowledged() {
    if file < 0 { file = open(acknowledged, O_RDONLY) }
    guard file >= 0 else { return }
    var buffer = [UInt8](repeating: 0, count: 65536)
    while case let count = read(file, &buffer, buffer.count), count > 0 {
      for byte in buffer.prefix(count) {
        guard byte == UInt8(ascii: "\n") else {
          line.append(byte)
          continue
        }
        if let number = Int(String(decoding: line, as: UTF8.self)) {
          expected.append(number)
          waiting.insert(number)
        } else {
          isFed = true
        }
        line = []
      }
    }
  }

  private func hasEnded(_ fate: Fate) -> Bool {
    if fate.deadAt != nil { return died[fate.id] != nil }
    return fate.endings.allSatisfy { ended[$0] != nil }
  }

  // MARK: Verdict

  private func judge(_ ordered: String) async throws -> Bool {
    // What was not acknowledged may be there all the same: whole, or not at all.
    let known = (0...(expected.max() ?? 0) + Feeder.window).map { Fate($0, seed: plan.seed) }
    let acknowledged = Set(expected)
    var (lost, unasked) = (0, 0)
    var right: Set<MessageID> = []
    for fate in known {
      let isThere = hasEnded(fate)
      if acknowledged.contains(fate.number), !isThere { lost += 1 }
      if !acknowledged.contains(fate.number), isThere { unasked += 1 }
      if let stage = fate.deadAt {
        right.insert(fate.id)
        if isThere, died[fate.id] != [stage] {
          wrong.append("\(fate.number) is a dead letter of \(died[fate.id] ?? [])")
        }
        if ended[fate.id] != nil { wrong.append("\(fate.number) was to be a dead letter, and ended") }
        continue
      }
      right.formUnion(fate.endings)
      if let stages = died[fate.id] { wrong.append("\(fate.number) is a dead letter of \(stages)") }
      let parts = fate.endings.filter { ended[$0] != nil }.count
      if parts != 0, parts != fate.endings.count { wrong.append("\(fate.number) ended in \(parts) parts") }
    }
    let twice = ended.values.reduce(0) { $0 + $1 - 1 } + died.values.reduce(0) { $0 + $1.count - 1 }
    let unknown = Set(ended.keys).union(died.keys).subtracting(right)
    let order = try await Order(tail, topic: ordered, worked: worked).judge()
    for line in (wrong + order.breaches).prefix(20) { say("wrong \(line)") }
    for stand in order.stands.prefix(8) {
      say("stood \(stand.partition) \(stand.from / 1_000_000) \((stand.until - stand.from) / 1_000_000)")
    }
    let counts = [
      ("acknowledged", expected.count), ("ended", ended.count), ("dead", died.count), ("unacknowledged", unasked),
      ("lost", lost), ("twice", twice), ("unknown", unknown.count), ("wrong", wrong.count), ("checked", order.checked),
      ("disorder", order.breaches.count),
    ]
    say("verdict " + counts.map { "\($0)=\($1)" }.joined(separator: " "))
    return lost + twice + unknown.count + wrong.count + order.breaches.count == 0
  }
}

/// Reads whole topics, partition by partition, over whatever happens to the brokers.
final class Tail {
  private let broker: KafkaBroker
  private var next: [TopicPartition: Int64] = [:]

  init(_ broker: KafkaBroker) { self.broker = broker }

  /// From the beginning on; returns once the topics are there.
  func follow(_ topics: [String]) async throws {
    while true {
      do {
        let found = try await broker.topics(prefix: "").filter { topics.contains($0.name) }
        for partition in found.flatMap(\.topicPartitions) { next[partition] = 0 }
        if found.count == topics.count { return }
      } catch { if !error.isTransient { throw error } }
      try await SystemClock.shared.sleep(for: .milliseconds(200))
    }
  }

  /// What came since; empty when the broker cannot be asked.
  func new() async throws -> [Record] {
    var result: [Record] = []
    do {
      for marks in try await broker.watermarks(next.keys.sorted()) {
        guard let from = next[marks.topicPartition], from < marks.end else { continue }
        let more = try await broker.read(marks.topicPartition, from: from, limit: 5000)
        if let last = more.last { next[marks.topicPartition] = last.offset + 1 }
        result += more
      }
    } catch {
      say("reading\t\(error)")
      if !error.isTransient { throw error }
    }
    return result
  }

  /// All that is there now.
  func all(_ topic: String) async throws -> [Record] {
    next = [:]
    try await follow([topic])
    var result: [Record] = []
    while case let more = try await new(), !more.isEmpty { result += more }
    return result
  }
}

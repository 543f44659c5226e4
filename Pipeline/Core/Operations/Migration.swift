/// Moves what waits in a deployment's topics to another broker: ready, delayed, slow and suspect messages, dead letters,
/// and the timelines of those that have ended.
///
/// Each record is moved once, also over a crash: how far a partition has come is a record of its own in
/// `NAME.migration` on the target, in the same transaction as what was moved. When all of it is there, the source's
/// topology topic says where it went, so that nobody starts it again by mistake, and its other topics are deleted, so
/// that nothing comes back to life should everything be moved back one day.
public struct Migration: Sendable {
  /// What was moved of a topic.
  public struct Moved: Sendable, Equatable {
    /// The topic.
    public let topic: String
    /// Records moved, in this run and in those before.
    public var records: Int64
    /// Records that wait in the source.
    public let total: Int64
  }

  /// Bytes of values and headers moved in one transaction, at most, but for a single record beyond that.
  private static let batchBytes = 4 << 20

  private let topology: Topology
  private let source: any Broker
  private let target: any Broker
  private var progressTopic: String { "\(topology.name).migration" }

  /// From `source` to `target`, under the names of `topology`. Neither may run.
  public init(_ topology: Topology, from source: any Broker, to target: any Broker) {
    self.topology = topology
    self.source = source
    self.target = target
  }

  /// What would be moved.
  public func plan() async throws(BrokerError) -> [Moved] {
    var result: [Moved] = []
    for part in try await parts() {
      let total = part.ranges.reduce(0) { $0 + ($1.end - $1.next) }
      result.append(Moved(topic: part.topic.name, records: 0, total: total))
    }
    return result
  }

  /// Moves everything, and returns what was moved. A run that was interrupted is gone on with.
  ///
  /// - Parameters:
  ///   - destination: how the source's topology topic names the target.
  ///   - progress: told now and then.
  public func run(
    destination: String, progress: @Sendable (Moved) -> Void = { _ in }
  ) async throws(BrokerError) -> [Moved] {
    let parts = try await parts()
    try await createTopics(parts)
    let before = try await positions()
    var result: [Moved] = []
    for part in parts { result.append(try await move(part, before, progress)) }
    try await TopologyLog(topology, broker: target).setMoved(to: nil)
    try await TopologyLog(topology, broker: source).setMoved(to: destination)
    let moved = try await source.topics(prefix: "\(topology.name).").map(\.name)
    try await source.delete(moved.filter { $0 != topology.topologyTopic })
    // Last: until here it says what must not be moved again.
    try await target.delete([progressTopic])
    return result
  }

  /// Makes what the target does not have yet. Topics that are there keep their partitions: keys find their way.
  private func createTopics(_ parts: [Part]) async throws(BrokerError) {
    var wanted = PipelineService.specifications(topology)
    wanted.append(TopicSpecification(progressTopic, retention: .compacted))
    for part in parts where !wanted.contains(where: { $0.name == part.topic.name }) {
      // Of a stage or a delay that is gone, and still holds messages: they are routed on from there.
      wanted.append(
        TopicSpecification(
          part.topic.name, partitions: part.topic.partitions, retention: .untilSettled(window: topology.window)))
    }
    let existing = Set(try await target.topics(prefix: "\(topology.name).").map(\.name))
    try await target.create(wanted.filter { !existing.contains($0.name) })
  }

  // MARK: What there is

  private struct Part {
    let topic: TopicDescription
    let ranges: [(partition: TopicPartition, next: Int64, end: Int64)]
  }

  /// Every topic of the source in which something waits, with where its group stands.
  private func parts() async throws(BrokerError) -> [Part] {
    var parts: [Part] = []
    for topic in try await source.topics(prefix: "\(topology.name).") {
      guard topic.name != topology.topologyTopic, topic.name != progressTopic else { continue }
      let committed = try await source.committed(group: Self.group(of: topic.name), in: [topic.name])
      let ranges = try await source.watermarks(topic.topicPartitions).map { marks in
        (marks.topicPartition, max(committed[marks.topicPartition] ?? marks.first, marks.first), marks.end)
      }.filter { $0.1 < $0.2 }
      if !ranges.isEmpty { parts.append(Part(topic: topic, ranges: ranges)) }
    }
    return parts
  }

  /// Who reads a topic: a stage's group its work, slow and retry topics; suspects and dead letters have groups of their
  /// own, and timelines none.
  private static func group(of topic: String) -> String {
    let words = topic.split(separator: ".", omittingEmptySubsequences: false)
    guard words.count > 3, words[3] == "slow" || words[3] == "retry" else { return topic }
    return words.prefix(3).joined(separator: ".")
  }

  /// How far an interrupted run came: the next offset of each partition of the source, and how many records before it.
  private func positions() async throws(BrokerError) -> [String: (next: Int64, count: Int64)] {
    var result: [String: (next: Int64, count: Int64)] = [:]
    for marks in try await target.watermarks([TopicPartition(progressTopic, 0)]) {
      var next = marks.first
      while let records = try await page(marks, from: next), let last = records.last {
        next = last.offset + 1
        for record in records {
          let numbers = String(decoding: try await record.value(), as: UTF8.self).split(separator: " ").compactMap {
            Int64($0)
          }
          guard numbers.count == 2 else { continue }
          result[String(decoding: record.key, as: UTF8.self)] = (numbers[0], numbers[1])
        }
      }
    }
    return result
  }

  private func page(_ marks: Watermarks, from next: Int64) async throws(BrokerError) -> [Record]? {
    next < marks.end ? try await target.read(marks.topicPartition, from: next, limit: 500) : nil
  }

  // MARK: Moving

  private func move(
    _ part: Part, _ before: [String: (next: Int64, count: Int64)], _ progress: @Sendable (Moved) -> Void
  ) async throws(BrokerError) -> Moved {
    var moved = Moved(
      topic: part.topic.name, records: 0, total: part.ranges.reduce(0) { $0 + ($1.end - $1.next) })
    for range in part.ranges {
      let key = range.partition.description
      var (next, count) = before[key].map { (max($0.next, range.next), $0.count) } ?? (range.next, 0)
      moved.records += count
      while next < range.end {
        let records = try await source.read(range.partition, from: next, limit: 200)
        if records.isEmpty { break }
        for batch in try batches(records) {
          guard let last = batch.last else { continue }
          next = last.offset + 1
          count += Int64(batch.count)
          var outputs: [OutgoingRecord] = []
          for record in batch {
            outputs.append(
              OutgoingRecord(
                topic: part.topic.name, key: record.key, headers: try record.headers(),
                value: .bytes(try await record.value())))
          }
          outputs.append(
            OutgoingRecord(
              topic: progressTopic, partition: 0, key: Bytes(key), headers: Headers(),
              value: .bytes(Bytes("\(next) \(count)"))))
          try await target.produce(outputs)
          moved.records += Int64(batch.count)
          progress(moved)
        }
      }
    }
    return moved
  }

  private func batches(_ records: [Record]) throws(BrokerError) -> [[Record]] {
    var batches: [[Record]] = [[]]
    var size = 0
    for record in records {
      let bytes = record.valueSize + (try record.headers()).encoded.count
      if size + bytes > Self.batchBytes, size > 0 {
        batches.append([])
        size = 0
      }
      batches[batches.count - 1].append(record)
      size += bytes
    }
    return batches
  }
}

/// How far behind the stages of a topology are, topic by topic.
public struct LagReport: Sendable {
  /// One topic of a stage.
  public struct Row: Sendable {
    /// What waits in it.
    public enum Kind: String, Sendable { case ready, retry, slow, suspect, dead }
    /// The topic.
    public let topic: String
    /// The stage that it belongs to.
    public let stage: StageName
    /// What waits in it.
    public let kind: Kind
    /// Records that the stage has not settled.
    public let records: Int64
    /// Who has which partitions, by name; a partition that nobody has is in none.
    public let members: [Member]
    /// Age of the oldest of them; nil: there is none.
    public let oldest: Duration?
    /// The offset that the next record gets, summed over the partitions: for rates.
    public let end: Int64
    /// The offset that the group reads next, summed over the partitions.
    public let next: Int64
    /// Records a second that came in and went out since the report before; nil without one.
    public var rates: (into: Double, out: Double)?

    /// How long the rest takes at the present rates; nil: it is not known, or it does not shrink.
    public var drain: Duration? {
      guard records > 0 else { return .zero }
      guard let rates, rates.out > rates.into else { return nil }
      return .milliseconds(Int64(min(Double(records) / (rates.out - rates.into) * 1000, 1e15)))
    }
  }

  /// A member of a stage's group.
  public struct Member: Sendable, Hashable {
    /// `NODE.PROCESS`.
    public let name: String
    /// Its partitions, rising.
    public let partitions: [Int]
  }

  /// When it was taken.
  public let at: Timestamp
  /// By flow, in order of the stages.
  public var rows: [Row]

  /// Takes a report; `before` gives the rates.
  public static func take(
    _ topology: Topology, broker: any Broker, clock: any PipelineClock, since before: LagReport? = nil
  ) async throws(BrokerError) -> LagReport {
    let existing = try await broker.topics(prefix: "\(topology.name).")
    let leftovers = Leftovers(topology, existing: existing)
    let stages = topology.flows.flatMap { flow in
      flow.stages.map { (name: StageName(flow: flow.name, stage: $0.name), settings: $0) }
    }
    var rows: [Row] = []
    var members: [String: [Member]] = [:]
    for (name, settings) in stages + leftovers.stages {
      let topics = topology.topics(name.flow, settings)
      var wanted: [(topic: String, kind: Row.Kind, group: String)] = [(topics.work, .ready, topics.group)]
      wanted += topics.retry.map { ($0.topic, .retry, topics.group) }
      wanted += leftovers.retryTopics(of: name).map { ($0, .retry, topics.group) }
      wanted.append((topics.slow, .slow, topics.group))
      wanted.append((topics.suspect, .suspect, topics.suspect))
      wanted.append((topics.dead, .dead, DeadLetters.group(topics.dead)))
      for (topic, kind, group) in wanted {
        guard let description = existing.first(where: { $0.name == topic }) else { continue }
        // A group shares the same partitions of all its topics.
        if members[group] == nil { members[group] = try await self.members(of: group, description, broker) }
        rows.append(try await row(description, kind, name, group, members[group] ?? [], broker, clock))
      }
    }
    var report = LagReport(at: clock.now, rows: rows)
    if let before { report.addRates(since: before) }
    return report
  }

  private static func members(
    of group: String, _ topic: TopicDescription, _ broker: any Broker
  ) async throws(BrokerError) -> [Member] {
    var partitions: [String: [Int]] = [:]
    for (place, name) in try await broker.members(group: group, in: [topic.name]) {
      if let name { partitions[name, default: []].append(place.partition) }
    }
    return partitions.map { Member(name: $0, partitions: $1.sorted()) }.sorted { $0.name < $1.name }
  }

  private static func row(
    _ topic: TopicDescription, _ kind: Row.Kind, _ stage: StageName, _ group: String, _ members: [Member],
    _ broker: any Broker, _ clock: any PipelineClock
  ) async throws(BrokerError) -> Row {
    let committed = try await broker.committed(group: group, in: [topic.name])
    var records: Int64 = 0
    var oldest: Timestamp?
    var ends: Int64 = 0
    var nexts: Int64 = 0
    for marks in try await broker.watermarks(topic.topicPartitions) {
      let next = max(committed[marks.topicPartition] ?? marks.first, marks.first)
      ends += marks.end
      nexts += next
      // Offsets may have gaps: what looks like a few records may be the markers of transactions, and no record at all.
      if marks.end > next, let head = try await broker.read(marks.topicPartition, from: next, limit: 1).first {
        records += marks.end - head.offset
        oldest = min(oldest ?? head.timestamp, head.timestamp)
      }
    }
    return Row(
      topic: topic.name, stage: stage, kind: kind, records: records, members: members,
      oldest: oldest.map { max(.zero, clock.now - $0) }, end: ends, next: nexts)
  }

  private mutating func addRates(since before: LagReport) {
    let seconds = Double((at - before.at).milliseconds) / 1000
    guard seconds > 0 else { return }
    for index in rows.indices {
      guard let old = before.rows.first(where: { $0.topic == rows[index].topic }) else { continue }
      rows[index].rates = (
        into: Double(max(0, rows[index].end - old.end)) / seconds,
        out: Double(max(0, rows[index].next - old.next)) / seconds
      )
    }
  }
}

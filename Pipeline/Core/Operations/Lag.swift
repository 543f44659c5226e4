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
    var wanted: [Wanted] = []
    for (name, settings) in stages + leftovers.stages {
      let topics = topology.topics(name.flow, settings)
      func want(_ topic: String, _ kind: Row.Kind, _ group: String) {
        guard let found = existing.first(where: { $0.name == topic }) else { return }
        wanted.append(Wanted(topic: found, kind: kind, stage: name, group: group))
      }
      want(topics.work, .ready, topics.group)
      for retry in topics.retry { want(retry.topic, .retry, topics.group) }
      for topic in leftovers.retryTopics(of: name) { want(topic, .retry, topics.group) }
      want(topics.slow, .slow, topics.group)
      want(topics.suspect, .suspect, topics.suspect)
      want(topics.dead, .dead, DeadLetters.group(topics.dead))
    }
    var report = LagReport(at: clock.now, rows: try await rows(wanted, broker, clock))
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

  private struct Wanted {
    let topic: TopicDescription
    let kind: Row.Kind
    let stage: StageName
    let group: String
  }

  /// All partitions of all topics are asked about together: there may be thousands.
  private static func rows(
    _ wanted: [Wanted], _ broker: any Broker, _ clock: any PipelineClock
  ) async throws(BrokerError) -> [Row] {
    var next: [TopicPartition: Int64] = [:]
    var members: [String: [Member]] = [:]
    for (group, topics) in Dictionary(grouping: wanted, by: \.group).sorted(by: { $0.key < $1.key }) {
      next.merge(try await broker.committed(group: group, in: topics.map(\.topic.name))) { $1 }
      // A group shares the same partitions of all its topics.
      if let first = topics.first { members[group] = try await self.members(of: group, first.topic, broker) }
    }
    var ends: [TopicPartition: Int64] = [:]
    var unsettled: [RecordPosition] = []
    for marks in try await broker.watermarks(wanted.flatMap(\.topic.topicPartitions)) {
      let place = max(next[marks.topicPartition] ?? marks.first, marks.first)
      next[marks.topicPartition] = place
      ends[marks.topicPartition] = marks.end
      if marks.end > place { unsettled.append(RecordPosition(marks.topicPartition, place)) }
    }
    // Offsets may have gaps: what looks like a few records may be the markers of transactions, and no record at all.
    let heads = unsettled.isEmpty ? [:] : try await broker.first(at: unsettled)
    let now = clock.now
    return wanted.map { wanted in
      let partitions = wanted.topic.topicPartitions
      let waiting = partitions.compactMap { heads[$0] }
      let oldest = waiting.map(\.timestamp).min()
      return Row(
        topic: wanted.topic.name, stage: wanted.stage, kind: wanted.kind,
        records: waiting.reduce(0) { $0 + max(0, (ends[$1.topicPartition] ?? 0) - $1.offset) },
        members: members[wanted.group] ?? [],
        oldest: oldest.map { max(.zero, now - $0) }, end: partitions.reduce(0) { $0 + (ends[$1] ?? 0) },
        next: partitions.reduce(0) { $0 + (next[$1] ?? 0) })
    }
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

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
        rows.append(try await row(description, kind, name, group, broker, clock))
      }
    }
    var report = LagReport(at: clock.now, rows: rows)
    if let before { report.addRates(since: before) }
    return report
  }

  private static func row(
    _ topic: TopicDescription, _ kind: Row.Kind, _ stage: StageName, _ group: String, _ broker: any Broker,
    _ clock: any PipelineClock
  ) async throws(BrokerError) -> Row {
    let committed = try await broker.committed(group: group)
    var records: Int64 = 0
    var oldest: Timestamp?
    var ends: Int64 = 0
    var nexts: Int64 = 0
    for marks in try await broker.watermarks(topic.topicPartitions) {
      let next = max(committed[marks.topicPartition] ?? marks.first, marks.first)
      records += max(0, marks.end - next)
      ends += marks.end
      nexts += next
      if marks.end > next, let head = try await broker.read(marks.topicPartition, from: next, limit: 1).first {
        oldest = min(oldest ?? head.timestamp, head.timestamp)
      }
    }
    return Row(
      topic: topic.name, stage: stage, kind: kind, records: records,
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

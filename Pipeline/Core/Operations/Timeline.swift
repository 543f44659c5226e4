/// Everything that has happened to one message.
public struct Timeline: Sendable {
  /// The message.
  public let id: MessageID
  /// Oldest first.
  public let events: [HistoryEvent]
  /// Where it is now: a topic; nil when it has ended.
  public let waiting: RecordPosition?

  /// Finds the timelines of the message `id` and of its parts, or of the messages for which `matches` holds.
  ///
  /// Messages on their way are found in the topics that hold them, ended ones in the trace topic. Both are read from the
  /// time of the id on; without an id, everything that is kept is read.
  public static func find(
    _ id: MessageID?, matching matches: @Sendable (Headers) -> Bool = { _ in false }, _ topology: Topology,
    broker: any Broker
  ) async throws(BrokerError) -> [Timeline] {
    var found: [Timeline] = []
    // Events are what clients are told, and no message.
    for topic in try await broker.topics(prefix: "\(topology.name).") where topic.name != topology.eventsTopic {
      let isTrace = topic.name == topology.traceTopic
      let isDead = topic.name.hasSuffix(".dead")
      let group = isDead ? DeadLetters.group(topic.name) : Self.group(of: topic.name)
      let committed = isTrace ? [:] : try await broker.committed(group: group, in: [topic.name])
      for marks in try await broker.watermarks(topic.topicPartitions) {
        var next = max(committed[marks.topicPartition] ?? marks.first, marks.first)
        if let id { next = max(next, try await broker.offset(of: marks.topicPartition, at: id.time)) }
        while next < marks.end {
          let records = try await broker.read(marks.topicPartition, from: next, limit: 500)
          guard let last = records.last else { break }
          next = last.offset + 1
          for record in records {
            guard let timeline = try timeline(record, id, matches, hasEnded: isTrace) else { continue }
            found.append(timeline)
          }
        }
      }
    }
    return found.sorted {
      ($0.events.first?.at.microseconds ?? 0, $0.id) < ($1.events.first?.at.microseconds ?? 0, $1.id)
    }
  }

  private static func timeline(
    _ record: Record, _ id: MessageID?, _ matches: (Headers) -> Bool, hasEnded: Bool
  ) throws(BrokerError) -> Timeline? {
    let headers = try record.headers()
    guard let own = headers.bytes(HeaderName.id).flatMap({ MessageID(utf8: $0) }) else { return nil }
    let isMeant =
      if let id { own == id || headers[HeaderName.parent] == id.description } else { matches(headers) }
    guard isMeant else { return nil }
    return Timeline(
      id: own, events: HistoryEvent.read(headers),
      waiting: hasEnded ? nil : RecordPosition(record.topicPartition, record.offset))
  }

  /// The group of a stage, from the name of one of its topics.
  private static func group(of topic: String) -> String {
    let words = topic.split(separator: ".")
    if words.last == "suspect" { return topic }
    return words.prefix(3).joined(separator: ".")
  }
}

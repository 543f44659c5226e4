/// The dead letters of a topology: to be listed, sent on their way again, or thrown away.
///
/// Dead letters are consumed like everything else: replaying moves the dead topic's group on and publishes the messages
/// in one settlement, so that a crash neither loses one nor sends it twice. Letters that were not meant are put behind,
/// in the same settlement.
public struct DeadLetters: Sendable {
  /// A dead letter.
  public struct Letter: Sendable {
    /// The message's id; nil for a record that was no message.
    public let id: MessageID?
    /// The stage that gave it up.
    public let stage: StageName
    /// A short code.
    public let reason: String
    /// What happened; at most 1 KiB.
    public let message: String
    /// How often it was tried.
    public let attempts: Int
    /// When it first failed.
    public let first: Timestamp
    /// When it was given up.
    public let last: Timestamp
    /// The record.
    public let record: Record
    /// The message; nil for a record that was none.
    public let content: Message?
  }

  /// Which letters are meant.
  public struct Filter: Sendable {
    /// This message only.
    public var id: MessageID?
    /// This stage only: `stage` or `flow.stage`.
    public var stage: String?
    /// This reason only.
    public var reason: String?
    /// Every letter.
    public init() {}

    func matches(_ letter: Letter) -> Bool {
      (id == nil || letter.id == id)
        && (stage == nil || letter.stage.stage == stage || letter.stage.description == stage)
        && (reason == nil || letter.reason == reason)
    }
  }

  private let topology: Topology
  private let broker: any Broker
  private let clock: any PipelineClock
  private let contentStore: (any ContentStore)?

  /// The dead letters of `topology`.
  public init(
    _ topology: Topology, broker: any Broker, clock: any PipelineClock, contentStore: (any ContentStore)? = nil
  ) {
    self.topology = topology
    self.broker = broker
    self.clock = clock
    self.contentStore = contentStore
  }

  /// The group whose progress says which letters were dealt with.
  static func group(_ topic: String) -> String { topic }

  /// The letters that wait, by stage and in order, at most `limit`.
  public func list(_ filter: Filter = Filter(), limit: Int = 1000) async throws(BrokerError) -> [Letter] {
    var letters: [Letter] = []
    for topic in try await topics() where letters.count < limit {
      try await visit(topic) { record throws(BrokerError) in
        let letter = try letter(record)
        if filter.matches(letter) { letters.append(letter) }
        return letters.count < limit
      }
    }
    return letters
  }

  /// Every record of `topic` that waits, partition by partition, until `body` has seen enough.
  private func visit(
    _ topic: TopicDescription, _ body: (Record) throws(BrokerError) -> Bool
  ) async throws(BrokerError) {
    let committed = try await broker.committed(group: Self.group(topic.name), in: [topic.name])
    for marks in try await broker.watermarks(topic.topicPartitions) {
      var next = max(committed[marks.topicPartition] ?? marks.first, marks.first)
      while next < marks.end {
        let records = try await broker.read(marks.topicPartition, from: next, limit: 500)
        guard let last = records.last else { break }
        next = last.offset + 1
        for record in records where try !body(record) { return }
      }
    }
  }

  /// What is to be done with a letter.
  public enum Action: Sendable {
    /// On its way again, from the stage that gave it up, with a fresh give-up clock.
    case replay
    /// Thrown away; its timeline says so.
    case discard
  }

  /// Replays or discards the letters that match, and returns how many there were.
  ///
  /// - Parameter instance: a name for this process among others that do the same.
  public func perform(_ action: Action, _ filter: Filter, instance: String) async throws(BrokerError) -> Int {
    var count = 0
    for topic in try await topics() {
      var hasMatch = false
      try await visit(topic) { record throws(BrokerError) in
        hasMatch = filter.matches(try letter(record))
        return !hasMatch
      }
      if hasMatch { count += try await perform(action, filter, topic, instance) }
    }
    return count
  }

  private func perform(
    _ action: Action, _ filter: Filter, _ topic: TopicDescription, _ instance: String
  ) async throws(BrokerError) -> Int {
    let consumer = try await broker.join(
      Membership(group: Self.group(topic.name), topics: [topic.name], instance: instance))
    do {
      let count = try await perform(action, filter, topic, consumer)
      await consumer.close()
      return count
    } catch {
      await consumer.close()
      throw error
    }
  }

  private func perform(
    _ action: Action, _ filter: Filter, _ topic: TopicDescription, _ consumer: any Consumer
  ) async throws(BrokerError) -> Int {
    // Up to the last letter that is there now: what is put behind must not come round again. (The end of a partition
    // would not do: behind the last record there may be nothing but the marker of a transaction.)
    var ends: [TopicPartition: Int64] = [:]
    try await visit(topic) { record throws(BrokerError) in
      ends[record.topicPartition] = record.offset + 1
      return true
    }
    var count = 0
    while !ends.isEmpty {
      guard case .records(let records) = try await consumer.next(limit: 200) else { continue }
      var settlement = Settlement()
      var settled: [TopicPartition: [Record]] = [:]
      for record in records {
        guard let end = ends[record.topicPartition], record.offset < end else { continue }
        let letter = try letter(record)
        let isMeant = filter.matches(letter) && (letter.content != nil || isDiscard(action))
        settlement.outputs += isMeant ? outputs(action, letter) : [try behind(record)]
        if isMeant { count += 1 }
        settled[record.topicPartition, default: []].append(record)
      }
      for (partition, records) in settled.sorted(by: { $0.key < $1.key }) {
        guard let last = records.last else { continue }
        settlement.progress.append(
          .init(topicPartition: partition, generation: last.generation, next: last.offset + 1, settled: records))
        if last.offset + 1 >= ends[partition] ?? 0 { ends[partition] = nil }
      }
      if !settlement.progress.isEmpty { try await consumer.settle(settlement) }
    }
    return count
  }

  private func isDiscard(_ action: Action) -> Bool { if case .discard = action { true } else { false } }

  private func outputs(_ action: Action, _ letter: Letter) -> [OutgoingRecord] {
    guard var message = letter.content else { return [] }
    for name in [
      HeaderName.deadStage, HeaderName.deadFrom, HeaderName.deadReason, HeaderName.deadMessage, HeaderName.deadFirst,
      HeaderName.deadLast, HeaderName.deadAttempts,
    ] { message.headers.remove(name) }
    message.clearFailures()
    switch action {
    case .replay:
      message.note(HistoryEvent(at: clock.now, .replayed, stage: letter.stage.stage, detail: letter.reason))
      let work = "\(topology.name).\(letter.stage)"
      return [MessageCodec.encode(message, topic: work)]
    case .discard:
      message.note(HistoryEvent(at: clock.now, .purged, stage: letter.stage.stage, detail: letter.reason))
      return [
        OutgoingRecord(
          topic: topology.traceTopic, key: Bytes(message.id.description), headers: message.headers,
          value: .bytes(.empty))
      ]
    }
  }

  private func behind(_ record: Record) throws(BrokerError) -> OutgoingRecord {
    OutgoingRecord(
      topic: record.topicPartition.topic, partition: record.topicPartition.partition, key: record.key,
      headers: try record.headers(), value: .same(record))
  }

  private func topics() async throws(BrokerError) -> [TopicDescription] {
    try await broker.topics(prefix: "\(topology.name).").filter { $0.name.hasSuffix(".dead") }
  }

  private func letter(_ record: Record) throws(BrokerError) -> Letter {
    let headers = try record.headers()
    let words = record.topicPartition.topic.dropFirst(topology.name.count + 1).split(separator: ".")
    func time(_ name: String) -> Timestamp {
      headers.int(name).map { Timestamp(milliseconds: Int64($0)) } ?? record.timestamp
    }
    let message = try? MessageCodec.decode(record, store: contentStore)
    return Letter(
      id: message?.id,
      stage: StageName(flow: words.first.map(String.init) ?? "", stage: words.dropFirst().first.map(String.init) ?? ""),
      reason: headers[HeaderName.deadReason] ?? "", message: headers[HeaderName.deadMessage] ?? "",
      attempts: headers.int(HeaderName.deadAttempts) ?? 0, first: time(HeaderName.deadFirst),
      last: time(HeaderName.deadLast), record: record, content: message)
  }
}

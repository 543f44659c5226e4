public import Pipeline
import RdKafka
import Synchronization

/// Topics on a Kafka cluster.
///
/// Several records that are appended in one call are a transaction, and seen when that is committed; so are a settlement's
/// outputs and offsets. A single record needs none. What librdkafka blocks on, it blocks on threads of this broker's own.
public final class KafkaBroker: Broker {
  let options: Options
  let producing: Lane<Work>
  let appending: Lane<Single>
  private let asking: Lane<@Sendable (Questions) -> Void>
  private let reading: Lane<@Sendable (Reader) -> Void>

  private struct State {
    var isClosed = false
    var consumers: [KafkaConsumer] = []
    var partitions: [String: Int] = [:]
    /// Topics as `create` was told to make them.
    var specifications: [String: TopicSpecification] = [:]
    var care: Rounds?
    /// What was joined here: a group's description names only the topics that it shares out.
    var topics: [String: Set<String>] = [:]
  }
  private let state = Mutex(State())

  private init(_ options: Options) {
    self.options = options
    let id = "mailflow.\(String(SystemRandom().next(), radix: 36))"
    producing = Lane {
      let transactor = Transactor(options, id: id, isRenewable: true)
      return { KafkaBroker.work($0, transactor) }
    }
    appending = Lane(ringing: { ring in
      let appender = Appender(options, wake: ring)
      return { KafkaBroker.work($0, appender) }
    })
    asking = Lane {
      let questions = Questions(options)
      return { for question in $0 { question(questions) } }
    }
    reading = Lane {
      let reader = Reader(options)
      return { for question in $0 { question(reader) } }
    }
  }

  /// Connects.
  ///
  /// - Throws: `.unavailable` if nobody answers; `.notPermitted` for a property that is not to be set, or if the brokers
  ///   refuse us; `.badSetting` if a property, or a file that one names, is wrong.
  public static func open(_ options: Options) async throws(BrokerError) -> KafkaBroker {
    var options = options
    options.properties = try options.readingFiles()
    try options.check()
    let broker = KafkaBroker(options)
    do { try await broker.ask { questions throws(BrokerError) in try questions.ping() } } catch {
      await broker.close()
      guard error.kind == .unavailable, error.hint == nil else { throw error }
      throw BrokerError(
        error.kind, error.message, hint: "is Kafka running at \(options.servers), and may this machine reach it?")
    }
    return broker
  }

  // MARK: Topics

  /// See `Broker`.
  public func create(_ topics: [TopicSpecification]) async throws(BrokerError) {
    _ = try await ask { questions throws(BrokerError) in try questions.create(topics) }
    state.withLock { state in
      for topic in topics {
        state.partitions[topic.name] = topic.partitions
        state.specifications[topic.name] = topic
      }
    }
  }

  /// See `Broker`.
  public func inspect(_ topics: [TopicSpecification]) async throws(BrokerError) -> [TopicDifference] {
    try await ask { questions throws(BrokerError) in try questions.inspect(topics) }
  }

  /// See `Broker`.
  public func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    defer { state.withLock { state in for topic in topics { state.partitions[topic] = nil } } }
    try await ask { questions throws(BrokerError) in try questions.grow(topics, to: partitions) }
  }

  /// See `Broker`.
  public func delete(_ topics: [String]) async throws(BrokerError) {
    let groups = state.withLock { state in
      // Ours to delete: not to be made again.
      for topic in topics { state.specifications[topic] = nil }
      return state.topics.filter { !$0.value.isDisjoint(with: topics) }.map(\.key).sorted()
    }
    try await ask { questions throws(BrokerError) in try questions.delete(topics, readBy: groups) }
    state.withLock { state in
      for topic in topics {
        state.partitions[topic] = nil
        state.specifications[topic] = nil
      }
    }
    _ = producing.add(.renew)
    _ = appending.add(.finish)
  }

  /// See `Broker`.
  public func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    let found = try await ask { questions throws(BrokerError) in try questions.topics(prefix: prefix) }
    state.withLock { state in for topic in found { state.partitions[topic.name] = topic.partitions } }
    return found
  }

  /// How many partitions the topic has.
  func partitions(of topic: String) async throws(BrokerError) -> Int {
    if let known = state.withLock({ $0.partitions[topic] }) { return known }
    return try await learn([topic])[topic] ?? 0
  }

  private func learn(_ topics: Set<String>) async throws(BrokerError) -> [String: Int] {
    let found = try await ask { questions throws(BrokerError) in try questions.existing(topics) }
    let counts = Dictionary(uniqueKeysWithValues: found.map { ($0.name, $0.partitions) })
    if let missing = topics.filter({ counts[$0] == nil }).min() {
      throw BrokerError(.unknownTopic, "there is no topic \(missing)")
    }
    state.withLock { $0.partitions.merge(counts) { $1 } }
    return counts
  }

  private func check(_ partitions: [TopicPartition]) async throws(BrokerError) {
    let topics = Set(partitions.map(\.topic))
    var counts = state.withLock { state in state.partitions.filter { topics.contains($0.key) } }
    let unknown = topics.subtracting(counts.keys)
    if !unknown.isEmpty { counts.merge(try await learn(unknown)) { $1 } }
    for partition in partitions where !(0..<(counts[partition.topic] ?? 0)).contains(partition.partition) {
      throw BrokerError(
        .unknownTopic,
        "\(partition.topic) has \(counts[partition.topic] ?? 0) partitions, and no \(partition.partition)")
    }
  }

  // MARK: Records

  /// See `Broker`.
  public func read(_ partition: TopicPartition, from offset: Int64, limit: Int) async throws(BrokerError) -> [Record] {
    try await check([partition])
    return try await run(on: reading) { reader throws(BrokerError) in
      try reader.read(partition, from: offset, limit: limit)
    }
  }

  /// See `Broker`.
  public func first(at positions: [RecordPosition]) async throws(BrokerError) -> [TopicPartition: Record] {
    try await check(positions.map(\.topicPartition))
    return try await run(on: reading) { reader throws(BrokerError) in try reader.first(at: positions) }
  }

  /// See `Broker`. The end of a partition may be that of what is not decided yet, and the last offsets before it may hold
  /// the marks of transactions and no record.
  public func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    try await check(partitions)
    return try await ask { questions throws(BrokerError) in try questions.watermarks(partitions) }
  }

  /// See `Broker`.
  public func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    try await check([partition])
    let found = try await ask { questions throws(BrokerError) in try questions.offset(of: partition, at: time) }
    // The marker that ends a transaction has a time too, and is no record.
    if let found, let record = try await read(partition, from: found, limit: 1).first { return record.offset }
    return try await watermarks([partition]).first?.end ?? 0
  }

  // MARK: Groups

  /// See `Broker`.
  public func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    try await ask { questions throws(BrokerError) in
      // A topic that is gone, and whose offsets the broker has not forgotten yet, is left out.
      let partitions = try questions.existing(Set(topics)).flatMap(\.topicPartitions)
      return partitions.isEmpty ? [:] : try questions.committed(group, partitions)
    }
  }

  /// See `Broker`. The group shares out its first topic; the same partitions of the others go along.
  public func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    try await ask { questions throws(BrokerError) in
      let shared = try questions.members(group)
      var result: [TopicPartition: String?] = [:]
      for place in try questions.existing(Set(topics)).flatMap(\.topicPartitions) {
        let owner = shared[place] ?? shared.first { $0.key.partition == place.partition }?.value
        result.updateValue(owner, forKey: place)
      }
      return result
    }
  }

  /// See `Broker`.
  public func join(_ membership: Membership) async throws(BrokerError) -> any Consumer {
    // Asked, not remembered: a topic may have been deleted meanwhile.
    let found = try await learn(Set(membership.topics))
    let counts = membership.topics.map { found[$0] ?? 0 }
    guard let first = counts.first, counts.allSatisfy({ $0 == first }) else {
      throw BrokerError(
        .mismatch, "group \(membership.group) reads topics of \(counts) partitions",
        hint: "topics that are read together have the same number")
    }
    let consumer = KafkaConsumer(self, membership)
    let isTaken = state.withLock { state in
      if !state.isClosed {
        state.consumers.append(consumer)
        state.topics[membership.group, default: []].formUnion(membership.topics)
        if state.care == nil { state.care = makeRounds() }
      }
      return !state.isClosed
    }
    do throws(BrokerError) {
      guard isTaken else { throw BrokerError.closed }
      try await consumer.start()
    } catch {
      forget(consumer)
      throw error
    }
    return consumer
  }

  // MARK: Care

  private func makeRounds() -> Rounds {
    Rounds(every: options.careInterval) { [weak self, options] in
      let caretaker = Caretaker(options)
      return { self?.takeCare(caretaker) }
    }
  }

  /// A round of care: what is gone is told of, and in the end made again; settled records are deleted.
  private func takeCare(_ caretaker: Caretaker) {
    let (topics, joined) = state.withLock { ($0.specifications.values.sorted { $0.name < $1.name }, $0.topics) }
    do throws(BrokerError) {
      let (missed, remade) = try caretaker.look(after: topics)
      for name in missed {
        let error = BrokerError(
          .unknownTopic, "topic \(name) was deleted while it is in use: what was in it is gone",
          hint: "it is made again when all nodes have noticed")
        options.report(error)
        // Where a member stands means nothing in a new topic of that name.
        for consumer in state.withLock({ $0.consumers }) where consumer.membership.topics.contains(name) {
          consumer.fail(error)
        }
      }
      if !remade.isEmpty { _ = producing.add(.renew) }
      for name in remade { options.report(BrokerError(.unknownTopic, "topic \(name) is made again, and empty")) }
      try caretaker.trim(topics, joined: joined, at: SystemClock.shared.now)
    } catch {
      // A topic that went meanwhile is told of in the next round; a broker that is away, by everybody else.
      if !isClosed, error.kind != .unavailable, error.kind != .unknownTopic { options.report(error) }
    }
  }

  func forget(_ consumer: KafkaConsumer) { state.withLock { $0.consumers.removeAll { $0 === consumer } } }

  // MARK: Ending

  /// See `Broker`. What is waiting to be appended is appended first.
  public func close() async {
    let consumers = state.withLock { state -> [KafkaConsumer]? in
      defer {
        state.isClosed = true
        state.care = nil
      }
      return state.isClosed ? nil : state.consumers
    }
    await withTaskGroup(of: Void.self) { group in
      for consumer in consumers ?? [] { group.addTask { await consumer.close() } }
    }
    producing.close()
    _ = appending.add(.finish)
    appending.close()
    asking.close()
    reading.close()
    await producing.ended()
    await appending.ended()
    await asking.ended()
    await reading.ended()
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  // MARK: Lanes

  private func ask<R: Sendable>(
    _ body: @escaping @Sendable (Questions) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R { try await run(on: asking, body) }

  private func run<C, R: Sendable>(
    on lane: Lane<@Sendable (C) -> Void>, _ body: @escaping @Sendable (C) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    if isClosed { throw .closed }
    let result: Result<R, BrokerError> = await withCheckedContinuation { answer in
      let isTaken = lane.add { context in
        do throws(BrokerError) { answer.resume(returning: .success(try body(context))) } catch {
          answer.resume(returning: .failure(error))
        }
      }
      if !isTaken { answer.resume(returning: .failure(.closed)) }
    }
    return try result.get()
  }
}

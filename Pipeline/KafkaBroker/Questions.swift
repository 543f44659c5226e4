import Pipeline
import RdKafka

/// Asks a cluster, one question at a time. Used by one thread.
final class Questions {
  private let options: KafkaBroker.Options
  private var client: AdminClient?

  init(_ options: KafkaBroker.Options) { self.options = options }

  private var patience: Int { options.patienceMilliseconds }
  /// For one try of a question: who is asked may be gone, and another one know.
  private var share: Int { min(patience, 2000) }

  private func admin() throws(KafkaError) -> AdminClient {
    if let client { return client }
    let client = try AdminClient(options.admin)
    self.client = client
    return client
  }

  /// Asks, and asks again while leaders and coordinators are being found: questions change nothing.
  private func ask<R>(_ doing: String, _ body: (AdminClient) throws(KafkaError) -> R) throws(BrokerError) -> R {
    let deadline = Deadline(options.patience)
    while true {
      do throws(KafkaError) { return try body(admin()) } catch {
        // librdkafka before 2.3 goes on asking a leader that is none any more until what it knows is minutes old.
        if error.kind == .unavailable { _ = try? client?.topics(milliseconds: share) }
        guard error.kind == .unavailable, !deadline.isOver else { throw BrokerError(error, doing) }
        pause()
      }
    }
  }

  func ping() throws(BrokerError) {
    try ask("connect to \(options.servers)") { admin throws(KafkaError) in try admin.ping(milliseconds: patience) }
  }

  // MARK: Topics

  /// How many partitions a topic has; nil if there is none of that name.
  func partitions(of topic: String) throws(BrokerError) -> Int? {
    try ask("topic \(topic)") { admin throws(KafkaError) in
      guard let found = try admin.topics(named: topic, milliseconds: patience).first else { return nil }
      if let error = found.error {
        if error.kind == .unknownTopic { return nil }
        throw error
      }
      return found.partitions
    }
  }

  /// Those of the topics that exist.
  func existing(_ names: Set<String>) throws(BrokerError) -> [TopicDescription] {
    var result: [TopicDescription] = []
    for name in names.sorted() {
      if let count = try partitions(of: name) { result.append(TopicDescription(name: name, partitions: count)) }
    }
    return result
  }

  func topics(prefix: String) throws(BrokerError) -> [TopicDescription] {
    try ask("topics") { admin throws(KafkaError) in
      try admin.topics(milliseconds: patience).filter { $0.name.hasPrefix(prefix) && $0.error == nil }
        .map { TopicDescription(name: $0.name, partitions: $0.partitions) }
        .sorted { $0.name < $1.name }
    }
  }

  /// Makes topics and waits until all their partitions are served.
  func create(_ topics: [TopicSpecification]) throws(BrokerError) {
    for topic in topics {
      if let found = try partitions(of: topic.name) {
        guard found == topic.partitions else {
          throw BrokerError(
            .mismatch, "topic \(topic.name) exists with \(found) partitions, not \(topic.partitions)",
            hint: "partitions of a topic in use are never added: keys would change places")
        }
        continue
      }
      do throws(KafkaError) {
        try admin().create(
          topic: topic.name, partitions: topic.partitions, configuration: options.topic(topic.retention),
          milliseconds: patience)
      } catch {
        guard error.kind == .topicExists else { throw BrokerError(error, "create \(topic.name)") }
      }
    }
    for topic in topics {
      let found = try wait("topic \(topic.name) to be served") { () throws(BrokerError) -> Int? in
        try ask("topic \(topic.name)") { admin throws(KafkaError) in
          try admin.topics(named: topic.name, milliseconds: patience).first { $0.error == nil && $0.isServed }?
            .partitions
        }
      }
      guard found == topic.partitions else {
        throw BrokerError(.mismatch, "topic \(topic.name) exists with \(found) partitions, not \(topic.partitions)")
      }
    }
  }

  /// Deletes topics, and waits until they are gone, and what these groups had committed of them with them: the broker
  /// forgets that a little later, and a new topic of the same name must not meet it.
  func delete(_ topics: [String], readBy groups: [String]) throws(BrokerError) {
    for topic in topics {
      do throws(KafkaError) { try admin().delete(topic: topic, milliseconds: patience) } catch {
        if error.kind != .unknownTopic { throw BrokerError(error, "delete \(topic)") }
      }
    }
    for topic in topics {
      try wait("topic \(topic) to be gone") { () throws(BrokerError) -> Void? in
        try partitions(of: topic) == nil ? () : nil
      }
    }
    for group in groups {
      try wait("group \(group) to forget \(topics)") { () throws(BrokerError) -> Void? in
        try committed(group).keys.contains { topics.contains($0.topic) } ? nil : ()
      }
    }
  }

  // MARK: Offsets

  func watermarks(_ partition: TopicPartition) throws(BrokerError) -> Watermarks {
    try ask("watermarks of \(partition)") { admin throws(KafkaError) in
      let (first, end) = try admin.watermarks(
        topic: partition.topic, partition: partition.partition, milliseconds: share)
      return Watermarks(topicPartition: partition, first: first, end: end)
    }
  }

  /// The first place at `time` or later, which may be one that holds no record; nil if there is none.
  func offset(of partition: TopicPartition, at time: Timestamp) throws(BrokerError) -> Int64? {
    try ask("offset of \(partition)") { admin throws(KafkaError) in
      try admin.offset(
        topic: partition.topic, partition: partition.partition, at: time.milliseconds, milliseconds: share)
    }
  }

  // MARK: Groups

  /// Where the group stands in these partitions; without any, in all that the broker has, which leaves out what is being
  /// committed for the first time.
  func committed(
    _ group: String, _ partitions: [TopicPartition] = []
  ) throws(BrokerError) -> [TopicPartition: Int64] {
    // While the markers of a settlement are being written, the broker refuses to say.
    try wait("the offsets of \(group) to be decided") { () throws(BrokerError) -> [TopicPartition: Int64]? in
      let found = try ask("offsets of \(group)") { admin throws(KafkaError) -> [PartitionOffset]? in
        // Not for long: while a new cluster makes its coordinator, a question may be lost.
        let patience = min(patience, 2000)
        do throws(KafkaError) {
          let asked = partitions.map { PartitionOffset(topic: $0.topic, partition: $0.partition) }
          return try admin.committed(group: group, asked.isEmpty ? nil : asked, milliseconds: patience)
        } catch {
          if error.kind == .unstableOffsets { return nil }
          throw error
        }
      }
      guard let found else { return nil }
      var result: [TopicPartition: Int64] = [:]
      for place in found { result[TopicPartition(place.topic, place.partition)] = place.offset }
      return result
    }
  }

  func members(_ group: String) throws(BrokerError) -> [TopicPartition: String] {
    try ask("members of \(group)") { admin throws(KafkaError) in
      var result: [TopicPartition: String] = [:]
      for member in try admin.members(group: group, milliseconds: patience) {
        for place in member.partitions { result[TopicPartition(place.topic, place.partition)] = member.name }
      }
      return result
    }
  }

  // MARK: Waiting

  /// Asks again every 5 ms until there is an answer.
  private func wait<R>(_ what: String, _ body: () throws(BrokerError) -> R?) throws(BrokerError) -> R {
    let deadline = Deadline(options.patience)
    while true {
      if let found = try body() { return found }
      guard !deadline.isOver else { throw BrokerError(.unavailable, "waited in vain for \(what)") }
      pause()
    }
  }

  private func pause() {
    let until = monotonicNanoseconds() + 5_000_000
    Monitor(()).wait { _ -> Monitor<Void>.Waiting<Void> in
      monotonicNanoseconds() >= until ? .result(()) : .until(until)
    }
  }
}

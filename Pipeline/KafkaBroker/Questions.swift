import Pipeline
import RdKafka

/// Asks a cluster, one question at a time. Used by one thread.
final class Questions {
  let options: KafkaBroker.Options
  private var client: AdminClient?

  init(_ options: KafkaBroker.Options) { self.options = options }

  var patience: Int { options.patienceMilliseconds }
  /// For one try of a question: who is asked may be gone, and another one know.
  private var share: Int { min(patience, 2000) }

  private func admin() throws(KafkaError) -> AdminClient {
    if let client { return client }
    let client = try AdminClient(options.admin)
    self.client = client
    return client
  }

  /// Asks, and asks again while leaders and coordinators are being found: questions change nothing.
  func ask<R>(_ doing: String, _ body: (AdminClient) throws(KafkaError) -> R) throws(BrokerError) -> R {
    let deadline = Deadline(options.patience)
    while true {
      do throws(KafkaError) { return try body(admin()) } catch {
        if client?.isSpent == true { client = nil }
        // librdkafka before 2.3 goes on asking a leader that is none any more until what it knows is minutes old.
        if error.kind == .unavailable { _ = try? client?.cluster(milliseconds: share) }
        guard error.kind == .unavailable, !deadline.isOver else { throw BrokerError(error, doing) }
        pause()
      }
    }
  }

  /// Returns when a broker answers. What the brokers refuse, or what is wrong with the way there, is found out at once.
  func ping() throws(BrokerError) {
    let doing = "connect to \(options.servers)"
    let deadline = Deadline(options.patience)
    while true {
      do throws(KafkaError) {
        return try admin().ping(milliseconds: min(patience, 250))
      } catch {
        let trouble = client?.takeTrouble() ?? []
        if let refusal = trouble.first(where: { $0.kind == .notPermitted }) { throw BrokerError(refusal, doing) }
        guard error.kind == .unavailable, !deadline.isOver else {
          // The last of them only counts the brokers that are down.
          throw BrokerError(trouble.first { $0.kind == .unavailable } ?? error, doing)
        }
        pause()
      }
    }
  }

  // MARK: Offsets

  func watermarks(_ partitions: [TopicPartition]) throws(BrokerError) -> [Watermarks] {
    func offsets(_ place: Int64) throws(BrokerError) -> [PartitionOffset] {
      try self.offsets(partitions.map { PartitionOffset(topic: $0.topic, partition: $0.partition, offset: place) })
    }
    let firsts = try offsets(PartitionOffset.first)
    let ends = try offsets(PartitionOffset.end)
    return zip(partitions, zip(firsts, ends)).map { partition, found in
      Watermarks(topicPartition: partition, first: found.0.offset, end: max(found.0.offset, found.1.offset))
    }
  }

  /// See `AdminClient.offsets`.
  ///
  /// - Parameter grace: how long a leader may not know of a partition: brokers hear of a new one at different times.
  func offsets(
    _ times: [PartitionOffset], grace: Duration = .seconds(1)
  ) throws(BrokerError) -> [PartitionOffset] {
    let grace = Deadline(grace)
    while true {
      do throws(BrokerError) {
        return try ask("offsets") { admin throws(KafkaError) in try admin.offsets(at: times, milliseconds: share) }
      } catch {
        guard error.kind == .unknownTopic, !grace.isOver else { throw error }
        pause(milliseconds: 50)
      }
    }
  }

  /// The first place at `time` or later, which may be one that holds no record; nil if there is none.
  func offset(of partition: TopicPartition, at time: Timestamp) throws(BrokerError) -> Int64? {
    let asked = PartitionOffset(
      topic: partition.topic, partition: partition.partition, offset: max(0, time.milliseconds))
    return try offsets([asked]).first.flatMap { $0.offset >= 0 ? $0.offset : nil }
  }

  /// Deletes what is before these offsets.
  func deleteRecords(before offsets: [PartitionOffset]) throws(BrokerError) {
    _ = try ask("delete settled records") { admin throws(KafkaError) in
      try admin.deleteRecords(before: offsets, milliseconds: patience)
    }
  }

  // MARK: Groups

  /// Every group that this user may see.
  func groups() throws(BrokerError) -> [String] {
    try ask("groups") { admin throws(KafkaError) in try admin.groups(milliseconds: patience) }
  }

  /// Where the group stands in these partitions; without any, in all that the broker has, which leaves out what is being
  /// committed for the first time.
  ///
  /// - Parameter areStable: whether to wait for settlements that are being ended; otherwise what was before them counts.
  func committed(
    _ group: String, _ partitions: [TopicPartition] = [], areStable: Bool = true
  ) throws(BrokerError) -> [TopicPartition: Int64] {
    // While the markers of a settlement are being written, the broker refuses to say.
    try wait("the offsets of \(group) to be decided", hint: Self.openTransaction) {
      () throws(BrokerError) -> [TopicPartition: Int64]? in
      let found = try ask("offsets of \(group)") { admin throws(KafkaError) -> [PartitionOffset]? in
        // Not for long: while a new cluster makes its coordinator, a question may be lost.
        let patience = min(patience, 2000)
        do throws(KafkaError) {
          let asked = partitions.map { PartitionOffset(topic: $0.topic, partition: $0.partition) }
          return try admin.committed(
            group: group, asked.isEmpty ? nil : asked, areStable: areStable, milliseconds: patience)
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

  private static let openTransaction =
    "if it stays like this, Kafka has left a transaction open: docs/kafka.md says how to end it"

  /// Asks again every 5 ms until there is an answer.
  func wait<R>(
    _ what: String, _ patience: Duration? = nil, hint: String? = nil, _ body: () throws(BrokerError) -> R?
  ) throws(BrokerError) -> R {
    let deadline = Deadline(patience ?? options.patience)
    while true {
      if let found = try body() { return found }
      guard !deadline.isOver else { throw BrokerError(.unavailable, "waited in vain for \(what)", hint: hint) }
      pause()
    }
  }

  func pause(milliseconds: Int64 = 5) {
    let until = monotonicNanoseconds() + milliseconds * 1_000_000
    Monitor(()).wait { _ -> Monitor<Void>.Waiting<Void> in
      monotonicNanoseconds() >= until ? .result(()) : .until(until)
    }
  }
}

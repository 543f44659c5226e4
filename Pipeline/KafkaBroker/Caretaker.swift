import Pipeline
import RdKafka

/// What a broker that has members of groups sees to by itself: what every group has settled is deleted behind its window,
/// and a topic that somebody deleted is made again after a while. Used by one thread.
///
/// Several nodes do so at once; nothing is done twice by that.
final class Caretaker {
  private let questions: Questions
  /// Partitions asked about or changed in one request.
  private static let chunk = 1000

  /// When a topic was missed first, by name.
  private var missedSince: [String: Int64] = [:]
  /// What was to be made again, and is perhaps not there yet.
  private var remaking: Set<String> = []
  private let patience: Duration

  init(_ options: KafkaBroker.Options) {
    questions = Questions(options)
    patience = max(options.careInterval * 1.5, .seconds(3))
  }

  /// Topics that are gone since the last call, and those that were made again.
  ///
  /// One that is gone is left so long that every node has seen it: a member that went on where it stood in the old one
  /// would leave records of the new one out.
  func look(after topics: [TopicSpecification]) throws(BrokerError) -> (missed: [String], remade: [String]) {
    let there = Set(try questions.existing(Set(topics.map(\.name))).map(\.name))
    let missing = topics.filter { !there.contains($0.name) }
    let now = monotonicNanoseconds()
    let missed = missing.map(\.name).filter { missedSince[$0] == nil }
    missedSince = missedSince.filter { !there.contains($0.key) }
    for name in missed { missedSince[name] = now }
    let due = missing.filter { now - (missedSince[$0.name] ?? now) >= patience.microseconds * 1000 }
    // Those of a round that failed behind the making are told of now.
    var remade = remaking.intersection(there)
    remaking = Set(due.map(\.name))
    if !due.isEmpty {
      remade.formUnion(try questions.create(due))
      remaking = []
    }
    return (missed, remade.sorted())
  }

  /// Deletes what is behind the windows of topics that keep records until they are settled.
  ///
  /// - Parameter joined: groups that have joined here, with the topics that they read: they count even where they have
  ///   settled nothing yet.
  func trim(_ topics: [TopicSpecification], joined: [String: Set<String>], at now: Timestamp) throws(BrokerError) {
    var windows: [String: Duration] = [:]
    for topic in topics { if case .untilSettled(let window) = topic.retention { windows[topic.name] = window } }
    let partitions = try questions.existing(Set(windows.keys)).flatMap(\.topicPartitions)
    guard !partitions.isEmpty else { return }
    let least = Self.least(of: partitions, try progress(partitions, joined))
    var firsts: [TopicPartition: Int64] = [:]
    for marks in try questions.watermarks(partitions.filter { least[$0] != nil }) {
      firsts[marks.topicPartition] = marks.first
    }
    let settled = partitions.filter { partition in
      guard let first = firsts[partition], let least = least[partition] else { return false }
      return least > first
    }
    for start in stride(from: 0, to: settled.count, by: Self.chunk) {
      let part = settled[start..<min(start + Self.chunk, settled.count)]
      let found = try questions.offsets(
        part.map { partition in
          let time = now + (.zero - (windows[partition.topic] ?? .zero))
          return PartitionOffset(
            topic: partition.topic, partition: partition.partition, offset: max(0, time.milliseconds))
        })
      let cuts = found.compactMap { place -> PartitionOffset? in
        let partition = TopicPartition(place.topic, place.partition)
        guard let least = least[partition], let first = firsts[partition] else { return nil }
        // None that is younger than the window: all of it is older.
        let cut = place.offset < 0 ? least : min(least, place.offset)
        return cut > first ? PartitionOffset(topic: place.topic, partition: place.partition, offset: cut) : nil
      }
      if !cuts.isEmpty { try questions.deleteRecords(before: cuts) }
    }
  }

  private func progress(
    _ partitions: [TopicPartition], _ joined: [String: Set<String>]
  ) throws(BrokerError) -> [(topics: Set<String>, next: [TopicPartition: Int64])] {
    var result: [(Set<String>, [TopicPartition: Int64])] = []
    for group in Set(try questions.groups()).union(joined.keys).sorted() {
      let next = try questions.committed(group, partitions, areStable: false)
      result.append((Set(next.keys.map(\.topic)).union(joined[group] ?? []), next))
    }
    return result
  }

  /// The least that all groups have settled of each partition. One that some group which reads the topic has settled
  /// nothing of, or that no group reads, is left out.
  static func least(
    of partitions: [TopicPartition], _ groups: [(topics: Set<String>, next: [TopicPartition: Int64])]
  ) -> [TopicPartition: Int64] {
    var result: [TopicPartition: Int64] = [:]
    next: for partition in partitions {
      var least: Int64?
      for group in groups where group.topics.contains(partition.topic) {
        guard let next = group.next[partition] else { continue next }
        least = min(least ?? next, next)
      }
      if let least { result[partition] = least }
    }
    return result
  }
}

/// Calls `body` now and then on a thread of its own, until it is stopped.
final class Rounds: Sendable {
  private struct State {
    var isStopped = false
    var isDue = false
  }
  private let state = Monitor(State())

  /// - Parameters:
  ///   - interval: between two rounds; the first begins somewhere within it, so that nodes that start together do not all
  ///     ask at once.
  ///   - start: called on the thread; makes what does a round, which never leaves the thread.
  init(every interval: Duration, _ start: @escaping @Sendable () -> () -> Void) {
    startThread { [state] in
      let body = start()
      var part = Double(SystemRandom().next() % 1000) / 1000
      while true {
        let until = monotonicNanoseconds() + Int64(Double(interval.microseconds * 1000) * part)
        part = 1
        let goesOn = state.wait { state -> Monitor<State>.Waiting<Bool> in
          if state.isStopped { return .result(false) }
          guard state.isDue || monotonicNanoseconds() >= until else { return .until(until) }
          state.isDue = false
          return .result(true)
        }
        guard goesOn else { return }
        body()
      }
    }
  }

  deinit { stop() }

  /// A round now.
  func hurry() { state.signal { $0.isDue = true } }

  /// The last round, if one is under way, ends by itself.
  func stop() { state.signal { $0.isStopped = true } }
}

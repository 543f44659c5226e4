import BrokerConformance
import KafkaBroker
import Pipeline
import RdKafka
import Synchronization
import Testing

/// The part of the conformance suite that librdkafka's imitation of a cluster is good for: appending, reading, groups and
/// rebalances. So something is tested where there is no Kafka.
@Suite("Kafka conformance, mock", .timeLimit(.minutes(3)))
struct MockConformanceTests {
  private static let features = {
    var features = BrokerConformance.Features()
    // It keeps no transactions, names of members, or times, and answers no questions about topics to be deleted.
    features.exactlyOnce = false
    features.namedMembers = false
    features.offsetsByTime = false
    features.deletion = false
    features.patience = .seconds(60)
    return features
  }()

  /// It makes whatever topic it is asked about, and cannot say who has which partition. And it refuses a member's SyncGroup
  /// that comes after the leader's, so that the member has to join again: whoever has something to give up meanwhile waits
  /// for it, and is taken for gone.
  private static let beyond = [
    "topics are made once, described and sorted; another number of partitions is refused",
    "what does not exist is refused", "members share the partitions, and partition n of all topics belongs to one",
    "what has to be given up can be settled until then",
  ]

  /// Each case has a cluster and several clients, of some threads each: all at once, members miss their heartbeats.
  private static let places = Places(10)

  private static let cases = BrokerConformance.cases.filter {
    $0.applies(to: features) && !beyond.contains($0.description)
  }

  @Test("at least once", arguments: cases)
  func atLeastOnce(_ one: BrokerConformance.Case) async throws {
    await Self.places.take()
    defer { Self.places.give() }
    let cluster = try MockCluster()
    var options = KafkaBroker.Options(servers: cluster.servers)
    options.guarantee = .atLeastOnce
    options.heartbeat = .milliseconds(100)
    options.patience = .seconds(20)
    options.properties["log_level"] = "0"
    let made = options
    try await one.run(Self.features, clock: SystemClock.shared) {
      MockedBroker(try await KafkaBroker.open(made), cluster)
    } another: { _ in
      MockedBroker(try await KafkaBroker.open(made), cluster)
    }
  }
}

/// A number of places, taken by who comes first.
private final class Places: Sendable {
  private let state: Mutex<(free: Int, waiters: [CheckedContinuation<Void, Never>])>

  init(_ count: Int) { state = Mutex((count, [])) }

  func take() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        if state.free > 0 {
          state.free -= 1
          return true
        }
        state.waiters.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  func give() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      if state.waiters.isEmpty {
        state.free += 1
        return nil
      }
      return state.waiters.removeFirst()
    }
    next?.resume()
  }
}

/// A broker on the mock, which makes its topics by itself: that question it does not answer.
private struct MockedBroker: Broker {
  let inner: KafkaBroker
  let cluster: MockCluster

  init(_ inner: KafkaBroker, _ cluster: MockCluster) {
    self.inner = inner
    self.cluster = cluster
  }

  func create(_ topics: [TopicSpecification]) async throws(BrokerError) {
    for topic in topics {
      do throws(KafkaError) { try cluster.create(topic: topic.name, partitions: topic.partitions) } catch {
        throw BrokerError(.other, "\(error)")
      }
    }
  }
  func grow(_ topics: [String], to partitions: Int) async throws(BrokerError) {
    try await inner.grow(topics, to: partitions)
  }
  func delete(_ topics: [String]) async throws(BrokerError) { try await inner.delete(topics) }
  func topics(prefix: String) async throws(BrokerError) -> [TopicDescription] {
    try await inner.topics(prefix: prefix)
  }
  func produce(_ records: [OutgoingRecord]) async throws(BrokerError) -> [RecordPosition] {
    try await inner.produce(records)
  }
  func join(_ membership: Membership) async throws(BrokerError) -> any Consumer { try await inner.join(membership) }
  func read(_ partition: TopicPartition, from offset: Int64, limit: Int) async throws(BrokerError) -> [Record] {
    try await inner.read(partition, from: offset, limit: limit)
  }
  func first(at positions: [RecordPosition]) async throws(BrokerError) -> [TopicPartition: Record] {
    try await inner.first(at: positions)
  }
  func watermarks(_ partitions: [TopicPartition]) async throws(BrokerError) -> [Watermarks] {
    try await inner.watermarks(partitions)
  }
  func offset(of partition: TopicPartition, at time: Timestamp) async throws(BrokerError) -> Int64 {
    try await inner.offset(of: partition, at: time)
  }
  func committed(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: Int64] {
    try await inner.committed(group: group, in: topics)
  }
  func members(group: String, in topics: [String]) async throws(BrokerError) -> [TopicPartition: String?] {
    try await inner.members(group: group, in: topics)
  }
  func close() async { await inner.close() }
}

import KafkaBroker
import Pipeline
import RdKafka
import Testing

/// What is acknowledged is there, also when a broker has only just become the leader of a partition.
@Suite("Kafka leaders", .timeLimit(.minutes(1)))
struct LeaderTests {
  /// A broker that becomes leader between two requests of one producer refuses the first and takes the second. librdkafka
  /// would then count the first as written, too.
  @Test("what a broker refused because it does not lead yet is sent again")
  func notLeaderYet() async throws {
    let cluster = try MockCluster()
    try cluster.create(topic: "t", partitions: 1)
    var options = KafkaBroker.Options(servers: cluster.servers)
    // Each record is a request of its own, so that several could be under way.
    options.properties = ["batch.num.messages": "1", "log_level": "0"]
    let broker = try await KafkaBroker.open(options)
    cluster.setRoundTrip(milliseconds: 50)
    cluster.refuseAsNotLeader(.produce, times: 1)
    let texts = (0..<10).map { "record \($0)" }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for text in texts {
        group.addTask {
          let record = OutgoingRecord(topic: "t", key: .empty, headers: Headers(), value: .bytes(Bytes(text)))
          try await broker.produce([record])
        }
      }
      try await group.waitForAll()
    }
    cluster.setRoundTrip(milliseconds: 0)
    var found: [String] = []
    for record in try await broker.read(TopicPartition("t", 0), from: 0, limit: 100) {
      found.append(try await record.value().text)
    }
    #expect(found.sorted() == texts)
    await broker.close()
  }
}

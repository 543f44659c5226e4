import Pipeline
import RdKafka
import Testing

/// Ends of a member at moments that librdkafka 2.0.2 does not survive by itself, on its own mock of a broker.
@Suite("Kafka closing", .timeLimit(.minutes(1)))
struct ClosingTests {
  /// A member of a group on a broker of its own, whose answers take so long.
  private func member(answersAfter milliseconds: Int) throws -> ConsumerClient {
    let client = try ConsumerClient([
      "test.mock.num.brokers": "1", "test.mock.broker.rtt": "\(milliseconds)", "group.id": "g",
      "group.instance.id": "one", "partition.assignment.strategy": "cooperative-sticky", "log_level": "0",
      "allow.auto.create.topics": "true",
    ]) {}
    try client.subscribe(["t"])
    return client
  }

  /// Asks again until there is an answer; the limit is for failures only.
  private func wait<R>(_ body: () -> R?) async throws -> R {
    let deadline = SystemClock.shared.now + .seconds(30)
    while SystemClock.shared.now < deadline {
      if let result = body() { return result }
      try await SystemClock.shared.sleep(for: .milliseconds(5))
    }
    throw BrokerError(.other, "waited in vain")
  }

  /// In the group, and not told yet of anything that is its own: to free the client then is an assertion that fails.
  @Test("before the first assignment")
  func early() async throws {
    var client: ConsumerClient? = try member(answersAfter: 300)
    _ = try await wait { client?.membership() }
    #expect(client?.poll() == nil)
    client?.close()
    client = nil
    // What must not come would come from a thread of its own.
    try await SystemClock.shared.sleep(for: .seconds(1))
  }

  /// The assignment that nobody answered keeps librdkafka from closing.
  @Test("with an assignment that was not answered")
  func unanswered() async throws {
    var client: ConsumerClient? = try member(answersAfter: 10)
    let event = try await wait { client?.poll() }
    guard case .assign = event else { throw BrokerError(.other, "\(event)") }
    client?.close()
    client = nil
    try await SystemClock.shared.sleep(for: .seconds(1))
  }
}

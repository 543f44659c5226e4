import BrokerConformance
import EmbeddedBroker
import Pipeline
import Testing

@Suite("Conformance", .timeLimit(.minutes(1)))
struct ConformanceTests {
  @Test("on threads, in a folder", arguments: BrokerConformance.cases)
  func folder(_ one: BrokerConformance.Case) async throws {
    let folder = TemporaryFolder()
    try await one.run(.init(), clock: SystemClock.shared) {
      try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    } another: { _ in
      try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    }
  }

  @Test("on the caller, in memory", arguments: BrokerConformance.cases)
  func memory(_ one: BrokerConformance.Case) async throws {
    try await one.run(.init(), clock: SystemClock.shared) {
      try EmbeddedBroker.inMemory(clock: SystemClock.shared, beforeEach: { await Task.yield() })
    } another: { broker in
      guard let broker = broker as? EmbeddedBroker else { throw BrokerError(.other, "not ours") }
      return try broker.sibling()
    }
  }
}

import BrokerConformance
import KafkaBroker
import Pipeline
import Testing

@Suite("Kafka conformance", .enabled(if: TestKafka.isThere, TestKafka.howToGetIt), .timeLimit(.minutes(2)))
struct ConformanceTests {
  @Test("cooperative", arguments: BrokerConformance.cases)
  func cooperative(_ one: BrokerConformance.Case) async throws { try await run(one, .cooperative, .init()) }

  /// Whatever changes, `range` takes everything from everybody: the cases that count what moves do not run.
  private static let rangeFeatures = {
    var features = BrokerConformance.Features()
    features.incrementalRevocation = false
    return features
  }()

  @Test("range", arguments: BrokerConformance.cases.filter { $0.applies(to: rangeFeatures) })
  func range(_ one: BrokerConformance.Case) async throws { try await run(one, .range, Self.rangeFeatures) }

  private func run(
    _ one: BrokerConformance.Case, _ assignor: KafkaBroker.Assignor, _ features: BrokerConformance.Features
  ) async throws {
    try await one.run(features, clock: SystemClock.shared) {
      try await KafkaBroker.open(TestKafka.options(assignor))
    } another: { _ in
      try await KafkaBroker.open(TestKafka.options(assignor))
    }
  }
}

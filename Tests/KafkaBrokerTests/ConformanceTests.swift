import BrokerConformance
import KafkaBroker
import Pipeline
import Testing

@Suite("Kafka conformance", .enabled(if: TestKafka.isThere, TestKafka.howToGetIt), .timeLimit(.minutes(2)))
struct ConformanceTests {
  @Test("cooperative", arguments: BrokerConformance.cases)
  func cooperative(_ one: BrokerConformance.Case) async throws {
    try await run(one, TestKafka.options(), Self.features)
  }

  /// All cases at once, on one broker and few cores.
  private static let features = {
    var features = BrokerConformance.Features()
    features.patience = .seconds(45)
    return features
  }()

  /// Whatever changes, `range` takes everything from everybody: the cases that count what moves do not run.
  private static let rangeFeatures = {
    var features = ConformanceTests.features
    features.incrementalRevocation = false
    return features
  }()

  @Test("range", arguments: BrokerConformance.cases.filter { $0.applies(to: rangeFeatures) })
  func range(_ one: BrokerConformance.Case) async throws {
    try await run(one, TestKafka.options(.range), Self.rangeFeatures)
  }

  /// Outputs may be there without progress: the cases that promise that they are not do not run.
  private static let leastFeatures = {
    var features = ConformanceTests.features
    features.exactlyOnce = false
    return features
  }()

  @Test("at least once", arguments: BrokerConformance.cases.filter { $0.applies(to: leastFeatures) })
  func atLeastOnce(_ one: BrokerConformance.Case) async throws {
    try await run(one, TestKafka.options(.cooperative, .atLeastOnce), Self.leastFeatures)
  }

  private func run(
    _ one: BrokerConformance.Case, _ options: KafkaBroker.Options, _ features: BrokerConformance.Features
  ) async throws {
    try await one.run(features, clock: SystemClock.shared) {
      try await KafkaBroker.open(options)
    } another: { _ in
      try await KafkaBroker.open(options)
    }
  }
}

import BrokerConformance
import Glibc
import KafkaBroker
import Pipeline
import Testing

/// The real broker that the tests use: `Scripts/test` starts one, or `MAILFLOW_TEST_KAFKA=host:port` names one.
enum TestKafka {
  static let servers = getenv("MAILFLOW_TEST_KAFKA").map { String(cString: $0) } ?? ""
  static let isMissing = servers.isEmpty

  static func options(_ assignor: KafkaBroker.Assignor = .cooperative) -> KafkaBroker.Options {
    var options = KafkaBroker.Options(servers: servers)
    options.assignor = assignor
    options.heartbeat = .milliseconds(100)
    if getenv("KDEBUG") != nil { options.properties = ["debug": "cgrp", "log_level": "7"] }
    return options
  }
}

@Suite(
  "Kafka conformance", .enabled(if: !TestKafka.isMissing, "set MAILFLOW_TEST_KAFKA=host:port"),
  .timeLimit(.minutes(2)))
struct ConformanceTests {
  @Test("on a real broker", arguments: BrokerConformance.cases.filter { c in getenv("CASE").map { c.description.contains(String(cString: $0)) } ?? true })
  func real(_ one: BrokerConformance.Case) async throws {
    try await one.run(.init(), clock: SystemClock.shared) {
      try await KafkaBroker.open(TestKafka.options())
    } another: { _ in
      try await KafkaBroker.open(TestKafka.options())
    }
  }
}

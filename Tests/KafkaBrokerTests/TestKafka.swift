import BrokerConformance
import Glibc
import KafkaBroker
import Pipeline
import Testing

/// The real broker that the tests use: `Scripts/test` starts one, or `MAILFLOW_TEST_KAFKA=host:port` names one.
enum TestKafka {
  static let servers = environment("MAILFLOW_TEST_KAFKA") ?? ""
  static let isThere = !servers.isEmpty
  static let howToGetIt: Comment =
    "no Kafka: name one by MAILFLOW_TEST_KAFKA=host:port, or have ../shared/kafka and run Scripts/test"

  /// The process of that broker, which the fault tests may stop and continue; only where nothing else uses it.
  static let process = environment("MAILFLOW_TEST_KAFKA_PID").flatMap { pid_t($0) }

  /// As in service, but quick to hear of changes.
  static func options(
    _ assignor: KafkaBroker.Assignor = .cooperative, _ guarantee: Topology.Guarantee = .exactlyOnce
  ) -> KafkaBroker.Options {
    var options = KafkaBroker.Options(servers: servers)
    options.assignor = assignor
    options.guarantee = guarantee
    options.heartbeat = .milliseconds(100)
    options.patience = .seconds(20)
    return options
  }

  private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

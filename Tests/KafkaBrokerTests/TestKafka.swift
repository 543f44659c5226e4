import BrokerConformance
import Foundation
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

  /// Where that broker keeps its topics.
  static func folder() throws -> String {
    let arguments = try String(contentsOfFile: "/proc/\(process ?? 0)/cmdline", encoding: .utf8).split(separator: "\0")
    let properties = try String(contentsOfFile: String(arguments.last ?? ""), encoding: .utf8)
    let line = try #require(properties.split(separator: "\n").first { $0.hasPrefix("log.dirs=") })
    return String(line.dropFirst("log.dirs=".count))
  }

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

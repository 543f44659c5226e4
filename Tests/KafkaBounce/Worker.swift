import Glibc
import KafkaBroker
import Pipeline

/// Runs every stage until SIGTERM, as `mailflow run` does. What happens is a line each on standard output.
func work(_ plan: Plan, _ broker: KafkaBroker, instance: String) async throws {
  let log = Log(clock: SystemClock.shared, minimum: .debug) { line in
    guard line.level > .debug || line.message.hasPrefix("partitions") else { return }
    if line.message == "dead letter" { return }
    let fields = line.fields.filter { $0.name != "flow" }.map { "\($0.name)=\($0.value)" }
    say("\(line.message)\t\(fields.joined(separator: " "))")
  }
  let environment = StageRunner.Environment(
    broker: broker, clock: SystemClock.shared, log: log, instance: instance)
  var service: PipelineService?
  while service == nil {
    do {
      service = try await PipelineService(
        plan.topology, stages: plan.registry, dataFolder: "", random: SystemRandom(), environment: environment)
    } catch let error as BrokerError where error.isTransient {
      log.write(.warning, "cannot start", ("error", error.description))
    }
  }
  guard let service else { return }
  say("ready")
  startThread {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    var number: Int32 = 0
    sigwait(&signals, &number)
    service.drain()
    sleep(2)
    service.abandon()
  }
  await service.run()
  await broker.close()
}

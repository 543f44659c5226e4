import Pipeline
import PipelineTesting
import Testing

@Suite struct SimulationTests {
  private func report(
    _ seed: UInt64, embedded: Bool = true, defect: MortalBroker.Defect = .none
  ) -> Simulation.Report {
    var configuration =
      embedded
      ? Simulation.Configuration.embedded(seed: seed)
      : Simulation.Configuration(seed: seed) { MemoryBroker(clock: $0) }
    configuration.defect = defect
    return Simulation.run(configuration)
  }

  @Test(arguments: [true, false])
  func everyMessageEndsExactlyOnce(embedded: Bool) {
    var schedules: Set<UInt64> = []
    var choices = 0
    let seeds: ClosedRange<UInt64> = 1...25
    for seed in seeds {
      let report = report(seed, embedded: embedded)
      #expect(report.violations == [], "seed \(seed)")
      schedules.insert(report.fingerprint)
      choices += report.choices
    }
    print(
      "simulation: \(embedded ? "embedded" : "memory") broker, \(seeds.count) seeds, "
        + "\(schedules.count) distinct schedules, \(choices / seeds.count) choices a run")
    #expect(schedules.count * 10 >= seeds.count * 9)
  }

  @Test func aSeedRepeatsItsRun() { #expect(report(7) == report(7)) }

  @Test func findsSettlingBeforePublishing() {
    let found = (1...1000 as ClosedRange<UInt64>).first { seed in
      !report(seed, defect: .settlesBeforePublishing).violations.isEmpty
    }
    print("simulation: settling before publishing is found by seed \(found.map(String.init) ?? "none")")
    #expect(found != nil)
  }
}

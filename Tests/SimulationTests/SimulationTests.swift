import Pipeline
import PipelineTesting
import Testing

@Suite struct SimulationTests {
  private func report(_ seed: UInt64, defect: MortalBroker.Defect = .none) -> Simulation.Report {
    var configuration = Simulation.Configuration(seed: seed) { MemoryBroker(clock: $0) }
    configuration.defect = defect
    return Simulation.run(configuration)
  }

  @Test func everyMessageEndsExactlyOnce() {
    for seed in 1...20 as ClosedRange<UInt64> {
      let report = report(seed)
      #expect(report.violations == [], "seed \(seed)")
      if seed < 4 { print(report) }
    }
  }
}

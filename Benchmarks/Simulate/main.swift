import Glibc
import Pipeline
import PipelineTesting

// simulate [FIRST] [COUNT]: runs seeds and prints what came out; the same arguments print the same lines, always. A
// single seed also prints what happened in it.

let arguments = CommandLine.arguments.dropFirst().compactMap { UInt64($0) }
let first = arguments.first ?? 1
let count = max(1, arguments.dropFirst().first ?? 1000)

var schedules: Set<UInt64> = []
var choices = 0
var steps = 0
var crashes = 0
var bad: [Simulation.Report] = []
var fingerprint: UInt64 = 0
for index in 0..<count {
  let seed = first &+ index
  let report = Simulation.run(.embedded(seed: seed))
  schedules.insert(report.fingerprint)
  choices += report.choices
  steps += report.steps
  crashes += report.crashes
  fingerprint = fingerprint &* 31 &+ report.fingerprint
  if count == 1 { for line in report.log { print("  \(line)") } }
  if !report.violations.isEmpty {
    bad.append(report)
    print("seed \(seed): \(report.violations.joined(separator: "; "))")
  }
  if count > 10_000, (index + 1) % 10_000 == 0 {
    print("… \(index + 1) seeds, \(bad.count) bad")
    fflush(nil)  // also to whoever reads it from a file
  }
}
print(
  "simulate first=\(first) seeds=\(count) distinct=\(schedules.count) choices=\(choices / Int(count)) steps=\(steps / Int(count)) "
    + "crashes=\(crashes) bad=\(bad.count) fingerprint=\(fingerprint)")
exit(bad.isEmpty ? 0 : 1)

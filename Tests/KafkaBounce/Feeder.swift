import Glibc
import KafkaBroker
import Pipeline
import Synchronization

/// Sends numbered messages in, each once, and notes which were acknowledged, so that its death loses no account.
///
/// `.unavailable` promises that nothing was appended: then the message is sent again. An unknown result counts as not
/// acknowledged: the message may be there, once, or not.
struct Feeder {
  /// The most messages on their way: after a kill the next feeder begins so many behind the last that was acknowledged.
  static let window = 256

  private let intake: Intake
  private let plan: Plan
  private let broker: KafkaBroker
  private let file: Int32

  init(_ plan: Plan, _ broker: KafkaBroker, acknowledged: String) throws {
    self.plan = plan
    self.broker = broker
    file = open(acknowledged, O_WRONLY | O_APPEND | O_CREAT, 0o600)
    guard file >= 0,
      let intake = Intake(
        source: Plan.source, topology: plan.topology, broker: broker, clock: SystemClock.shared, random: SystemRandom(),
        contentStore: nil)
    else { throw BrokerError(.other, "cannot open \(acknowledged)") }
    self.intake = intake
  }

  func feed(_ numbers: Range<Int>, perSecond rate: Int) async throws {
    // A broker may be down before the first record is sent.
    var isReady = false
    while !isReady {
      do {
        try await broker.create(PipelineService.specifications(plan.topology))
        isReady = true
      } catch {
        guard error.isTransient else { throw error }
        say("again\t\(error)")
      }
    }
    say("ready")
    let began = monotonicNanoseconds()
    try await withThrowingTaskGroup(of: Int.self) { group in
      var open: Set<Int> = []
      for number in numbers {
        let due =
          Int64(number - numbers.lowerBound) * 1_000_000_000 / Int64(max(1, rate)) - (monotonicNanoseconds() - began)
        if due > 0 { try await SystemClock.shared.sleep(for: .nanoseconds(due)) }
        // Nothing is begun while one that many places before it is open.
        while let oldest = open.min(), number - oldest >= Self.window, let ended = try await group.next() {
          open.remove(ended)
        }
        open.insert(number)
        group.addTask {
          try await send(number)
          return number
        }
      }
      try await group.waitForAll()
    }
    await broker.close()
  }

  private func send(_ number: Int) async throws {
    let fate = Fate(number, seed: plan.seed)
    while true {
      do {
        try await intake.accept(
          id: fate.id, content: Bytes(fate.content), contentType: "text/plain", source: Plan.source,
          attributes: [("number", "\(number)")])
        return put("\(number)\n", to: file)
      } catch {
        if error.kind == .unknownResult { return say("unknown \(number)") }
        guard error.isTransient else { throw error }
        say("again\t\(error)")
        try await SystemClock.shared.sleep(for: .milliseconds(50))
      }
    }
  }
}

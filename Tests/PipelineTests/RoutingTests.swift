import Testing

@testable import Pipeline

@Suite struct RoutingTests {
  private func topology(_ stages: [String], needs: [String: [String]] = [:]) -> Topology {
    Topology(
      name: "t",
      flows: [
        Topology.Flow(
          "f", from: ["s"],
          stages: stages.map { name in
            var stage = Topology.StageSettings(name)
            stage.needs = needs[name] ?? []
            return stage
          })
      ])
  }

  private func message(done: [String] = [], skipped: [String] = []) -> Message {
    var message = Message(
      id: MessageID(at: Timestamp(milliseconds: 1), random: SystemRandom()), flow: "f", source: "s",
      contentType: "text/plain", content: Content(Bytes("x")))
    done.forEach { message.markDone($0) }
    skipped.forEach { message.markSkipped($0) }
    return message
  }

  @Test(
    arguments: [
      // Order in force, done, skipped, found at: where it belongs.
      (["a", "b", "c"], [], [], "a", Router.Placement.process),
      (["a", "b", "c"], ["a"], [], "b", .process),
      (["b", "a", "c"], [], [], "a", .move("b")),  // the order was swapped while it waited
      (["b", "a", "c"], ["a"], [], "b", .process),
      (["b", "a", "c"], ["b"], [], "b", .move("a")),  // done here before
      (["d", "a"], [], [], "a", .move("d")),  // one was put in front
      (["a", "c"], ["a"], [], "b", .move("c")),  // it was removed
      (["a", "b", "c"], ["a", "b", "c"], [], "c", .move(nil)),
      (["a", "b", "c"], ["a"], ["b"], "c", .process),
      (["c", "b", "a"], ["a"], ["b"], "b", .move("c")),  // skipped stages are never visited later
    ] as [([String], [String], [String], String, Router.Placement)])
  func places(_ order: [String], _ done: [String], _ skipped: [String], _ at: String, _ placement: Router.Placement) {
    #expect(Router(topology(order)).place(message(done: done, skipped: skipped), at: at) == placement)
  }

  @Test func needsAreHeldWhenItRuns() {
    let router = Router(topology(["a", "b"], needs: ["b": ["a"]]))
    #expect(router.place(message(skipped: ["a"]), at: "b") == .needs("a"))
    #expect(router.place(message(done: ["a"]), at: "b") == .process)
    #expect(Router(topology(["b"], needs: ["b": ["a"]])).place(message(), at: "b") == .needs("a"))
  }

  @Test func aFlowThatIsGoneIsSaid() {
    var other = topology(["a"])
    other.flows[0].name = "g"
    #expect(Router(other).place(message(), at: "a") == .noFlow)
  }

  @Test func partsHaveIdsOfTheirOwnAlwaysTheSame() throws {
    let id = try #require(MessageID("0190b3a1-7a4f-7000-8000-1234567890ab"))
    #expect(id.part("x", of: "s") == id.part("x", of: "s"))
    #expect(id.part("x", of: "s") != id.part("y", of: "s") && id.part("x", of: "s") != id.part("x", of: "t"))
    #expect(id.part("x", of: "s").time == id.time)
    #expect(MessageID(id.description) == id && MessageID("nonsense") == nil)
  }
}

@Suite struct RetryTests {
  private let schedule = RetrySchedule(delays: [.seconds(10), .seconds(60)], giveUp: .seconds(200))

  @Test func delaysRiseAndTheLastRepeatsUntilGivingUp() {
    var spent = Duration.zero
    var waits: [Int64] = []
    for failures in 1...100 {
      guard case .again(_, let delay) = schedule.decide(failures: failures, spent: spent, after: nil) else { break }
      spent += delay
      waits.append(delay.milliseconds / 1000)
    }
    #expect(waits == [10, 60, 60, 60])
  }

  @Test func aWishTakesTheNextLongerTopic() {
    #expect(schedule.decide(failures: 1, spent: .zero, after: .seconds(30)) == .again(topic: 1, delay: .seconds(60)))
    #expect(schedule.decide(failures: 1, spent: .zero, after: .seconds(900)) == .again(topic: 1, delay: .seconds(60)))
    #expect(RetrySchedule(delays: [], giveUp: .seconds(1)).decide(failures: 1, spent: .zero, after: nil) == .giveUp)
  }

  @Test func aCircuitOpensProbesAndCloses() {
    let start = Timestamp(milliseconds: 0)
    var circuit = Circuit()
    #expect(circuit.allowance(at: start) == nil)
    circuit.failed("away", at: start)
    #expect(circuit.allowance(at: start) == 0)
    let later = start + .seconds(1)
    #expect(circuit.allowance(at: later) == 1)
    circuit.started()
    #expect(circuit.allowance(at: later) == 0)
    circuit.failed("still away", at: later)
    #expect(circuit.allowance(at: later + .milliseconds(900)) == 0, "the interval doubles")
    #expect(circuit.allowance(at: later + .seconds(1)) == 1)
    circuit.started()
    circuit.passed()
    #expect(circuit.allowance(at: later) == nil)
  }

  @Test func onlyTheContiguousPrefixIsTaken() {
    var window = OffsetWindow<Int>()
    (0..<10).forEach { window.append($0) }
    let done: Set<Int> = [0, 1, 2, 4]
    #expect(window.takePrefix(2, where: done.contains) == [0, 1])
    #expect(window.takePrefix(9, where: done.contains) == [2])
    #expect(window.takePrefix(9, where: done.contains) == [])
    #expect(window.first == 3 && window.count == 7)
  }
}

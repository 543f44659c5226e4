import Testing

@testable import Pipeline

/// What a stage's runner decides, step by step, on a clock that the test holds.
@Suite struct StageMachineTests {
  /// A machine, and the records that it is fed with.
  private struct Bench {
    var machine: StageMachine
    let disposer: Disposer
    var now = Timestamp(milliseconds: 1_000_000)
    private var offsets: [String: Int64] = [:]

    init(_ change: (inout Topology.StageSettings) -> Void = { _ in }) {
      var settings = Topology.StageSettings("s")
      settings.concurrency = 4
      settings.timeout = .seconds(10)
      settings.slowAfter = .seconds(1)
      settings.slowBudget = 1
      settings.retry = [.seconds(5)]
      change(&settings)
      let topology = Topology(name: "t", flows: [Topology.Flow("f", from: ["g"], stages: [settings])])
      disposer = Disposer(topology: topology, flow: "f", stage: settings)
      machine = StageMachine(settings: settings, disposer: disposer, batchLimit: nil, prefetch: 100)
    }

    private final class Batch: RecordBatch {
      func headers(_ index: Int) throws(BrokerError) -> Headers { Headers() }
      func value(_ index: Int) async throws(BrokerError) -> Bytes { .empty }
    }

    /// A message as it came from one of the stage's topics.
    mutating func item(
      _ number: Int, key: String? = nil, in lane: StageMachine.Lane = .work, due: Duration? = nil
    ) -> StageMachine.Item {
      let topic =
        switch lane {
        case .work: disposer.topics.work
        case .slow: disposer.topics.slow
        case .retry: disposer.topics.retry[0].topic
        }
      let offset = offsets[topic, default: 0]
      offsets[topic] = offset + 1
      let record = Record(
        topicPartition: TopicPartition(topic, 0), offset: offset, timestamp: now, generation: 1, key: Bytes(""),
        valueSize: 0, batch: Batch(), index: 0)
      var message = Message(
        id: StageMachineTests.id(number), flow: "f", source: "g", contentType: "text/plain",
        content: Content(Bytes("\(number)")))
      if let key { message.key = Bytes(key) }
      if let due {
        var headers = message.headers
        headers[HeaderName.due] = String((now + due).milliseconds)
        message = Message(id: message.id, key: message.key, content: message.content, headers: headers)
      }
      return StageMachine.Item(record: record, message: message, lane: lane)
    }

    mutating func add(_ items: StageMachine.Item...) { machine.add(items.map { ($0, nil) }, at: now) }

    /// Starts everything that may start now.
    mutating func start() -> [StageMachine.Run] {
      var runs: [StageMachine.Run] = []
      while let run = machine.take(at: now) { runs.append(run) }
      return runs
    }

    mutating func finish(_ run: StageMachine.Run, _ result: Result<Outcome, StageError>? = nil) {
      let item = run.items[0]
      machine.finish(run, [StageMachine.Ending(result ?? .success(.forward(item.message)), outputs: [])], at: now)
    }

    mutating func pass(_ duration: Duration) {
      now = now + duration
      machine.tick(at: now)
    }

    /// Offsets by topic of what can be settled now.
    mutating func settled() -> [String: Int64] {
      let settlement = machine.takePrefix(limit: 100)?.settlement()
      return [String: Int64](
        uniqueKeysWithValues: (settlement?.progress ?? []).map { ($0.topicPartition.topic, $0.next) })
    }
  }

  private static func id(_ number: Int) -> MessageID {
    struct Fixed: RandomSource {
      let number: Int
      func next() -> UInt64 { UInt64(number) }
    }
    return MessageID(at: Timestamp(milliseconds: 1), random: Fixed(number: number))
  }

  private func numbers(_ runs: [StageMachine.Run]) -> [Int] {
    runs.map { run in (0..<100).first { Self.id($0) == run.items[0].message.id } ?? -1 }
  }

  @Test func onlyThePrefixIsSettled() {
    var bench = Bench()
    bench.add(bench.item(0), bench.item(1), bench.item(2))
    let runs = bench.start()
    #expect(numbers(runs) == [0, 1, 2])
    bench.finish(runs[1])
    #expect(bench.settled() == [:])
    bench.finish(runs[0])
    #expect(bench.settled() == ["t.f.s": 2])
    bench.finish(runs[2])
    #expect(bench.settled() == ["t.f.s": 3])
    #expect(bench.machine.inHand == 0)
  }

  @Test func aSlowMessageHoldsUpNobody() {
    var bench = Bench { $0.concurrency = 1 }
    bench.add(bench.item(0), bench.item(1))
    let slow = bench.start()[0]
    #expect(bench.machine.nextMoment == bench.now + .seconds(1))
    bench.pass(.seconds(1))
    // Its record is settled into the slow lane while the work goes on, and the next one has its place.
    #expect(bench.settled() == ["t.f.s": 1])
    let next = bench.start()
    #expect(numbers(next) == [1])
    bench.finish(next[0])
    #expect(bench.settled() == ["t.f.s": 2])

    bench.add(bench.item(0, in: .slow))
    #expect(bench.start().isEmpty, "the work goes on: it is not begun a second time")
    #expect(bench.settled() == [:])
    bench.finish(slow)
    #expect(bench.settled() == ["t.f.s.slow": 1])
  }

  /// Far beyond what is usual here, and others wait: its record moves aside long before it counts as slow.
  @Test func anOutlierThatOthersWaitForMovesAside() {
    var bench = Bench { $0.concurrency = 2 }
    for number in 0..<60 {
      bench.add(bench.item(number))
      bench.finish(bench.start()[0])
    }
    _ = bench.settled()
    bench.add(bench.item(60))
    let outlier = bench.start()[0]
    bench.pass(.milliseconds(500))
    #expect(bench.settled() == [:], "nobody waits for it")
    bench.add(bench.item(61))
    bench.finish(bench.start()[0])
    #expect(bench.machine.nextMoment <= bench.now)
    bench.pass(.zero)
    #expect(bench.settled() == ["t.f.s": 62])
    #expect(!outlier.isSlow && outlier.cancellation == nil)
    bench.add(bench.item(62), bench.item(63))
    #expect(bench.start().count == 1, "it still counts among the stage's two")
  }

  /// Where everything takes that long, nothing is an outlier.
  @Test func whatIsUsualStays() {
    var bench = Bench { $0.concurrency = 2 }
    for number in 0..<60 {
      bench.add(bench.item(number))
      let run = bench.start()[0]
      bench.pass(.milliseconds(200))
      bench.finish(run)
    }
    _ = bench.settled()
    bench.add(bench.item(60), bench.item(61))
    let runs = bench.start()
    bench.finish(runs[1])
    bench.pass(.milliseconds(400))
    #expect(bench.settled() == [:])
    bench.finish(runs[0])
    #expect(bench.settled() == ["t.f.s": 62])
  }

  @Test func slowWorkBeyondTheBudgetBeginsAgainFromTheLane() {
    var bench = Bench()
    bench.add(bench.item(0), bench.item(1))
    let runs = bench.start()
    bench.pass(.seconds(1))
    #expect(runs.map { $0.cancellation != nil } == [false, true], "the budget is one")
    bench.finish(runs[1], .failure(.transient("cancelled", "")))
    bench.add(bench.item(0, in: .slow), bench.item(1, in: .slow))
    #expect(bench.start().isEmpty)
    bench.finish(runs[0])
    #expect(bench.settled() == ["t.f.s": 2, "t.f.s.slow": 1])
    let again = bench.start()
    #expect(numbers(again) == [1] && again[0].isSlow)
    bench.finish(again[0])
    #expect(bench.settled() == ["t.f.s.slow": 2])
  }

  @Test func pastItsTimeItIsCancelled() {
    var bench = Bench { $0.slowAfter = .seconds(60) }
    bench.add(bench.item(0))
    let run = bench.start()[0]
    bench.pass(.milliseconds(9_999))
    #expect(run.cancellation == nil && bench.machine.nextMoment == run.deadline)
    bench.pass(.milliseconds(1))
    #expect(run.cancellation == .timeout && bench.machine.nextMoment == .distantFuture)
  }

  @Test func oneKeyOneMessageAtATime() {
    var bench = Bench { $0.order = .key }
    bench.add(bench.item(0, key: "x"), bench.item(1, key: "x"), bench.item(2, key: "y"), bench.item(3, key: "x"))
    let first = bench.start()
    #expect(numbers(first) == [0, 2])
    bench.finish(first[1])
    #expect(bench.start().isEmpty)
    bench.finish(first[0])
    let second = bench.start()
    #expect(numbers(second) == [1])
    bench.finish(second[0])
    #expect(numbers(bench.start()) == [3])
  }

  @Test func strictOrderWaitsInPlace() {
    var bench = Bench { $0.order = .strict }
    bench.add(bench.item(0), bench.item(1))
    let first = bench.start()
    #expect(numbers(first) == [0])
    bench.finish(first[0], .failure(.transient("away", "")))
    #expect(bench.start().isEmpty && bench.settled() == [:])
    #expect(bench.machine.nextMoment == bench.now + .seconds(5))
    bench.pass(.seconds(5))
    let again = bench.start()
    #expect(numbers(again) == [0])
    bench.finish(again[0])
    #expect(numbers(bench.start()) == [1])
  }

  /// One that this stage only passes on does not end the queue behind it.
  @Test func strictOrderGoesOnBehindWhatIsPassedOn() {
    var bench = Bench { $0.order = .strict }
    bench.machine.add([(bench.item(0), []), (bench.item(1), nil)], at: bench.now)
    #expect(numbers(bench.start()) == [1])
  }

  @Test func aRetryIsNeverEarly() {
    var bench = Bench()
    bench.add(bench.item(0, in: .retry, due: .seconds(3)), bench.item(1, in: .retry, due: .seconds(4)))
    #expect(bench.start().isEmpty)
    #expect(bench.machine.pauseChanges().pause.map(\.topic) == ["t.f.s.retry.5s"])
    #expect(bench.machine.nextMoment == bench.now + .seconds(3))
    bench.pass(.milliseconds(2_999))
    #expect(bench.start().isEmpty)
    bench.pass(.milliseconds(1))
    #expect(numbers(bench.start()) == [0])
    #expect(bench.machine.pauseChanges().resume.isEmpty, "the second is not due")
    bench.pass(.seconds(1))
    #expect(numbers(bench.start()) == [1])
    #expect(bench.machine.pauseChanges().resume.map(\.topic) == ["t.f.s.retry.5s"])
  }

  @Test func aDependencyThatIsDownCostsNoAttempt() {
    var bench = Bench()
    bench.add(bench.item(0), bench.item(1))
    let runs = bench.start()
    for run in runs { bench.finish(run, .failure(.dependencyDown("db", "refused"))) }
    #expect(bench.start().isEmpty && bench.settled() == [:])
    #expect(bench.machine.nextMoment == bench.now + .milliseconds(500))
    bench.pass(.milliseconds(500))
    let probe = bench.start()
    #expect(probe.count == 1, "one asks for all")
    bench.finish(probe[0])
    #expect(bench.start().count == 1)
  }

  /// One message for which alone it is down must not be all that is ever tried.
  @Test func anotherOneAsksNext() {
    var bench = Bench { $0.concurrency = 1 }
    bench.add(bench.item(0), bench.item(1))
    bench.finish(bench.start()[0], .failure(.dependencyDown("db", "refused")))
    bench.pass(.milliseconds(500))
    let probe = bench.start()
    #expect(numbers(probe) == [1])
    bench.finish(probe[0])
    #expect(numbers(bench.start()) == [0])
  }

  /// Work that was taken away says nothing about the dependency: the next one asks again.
  @Test func aProbeThatIsTakenAwayIsNoAnswer() {
    var bench = Bench()
    bench.add(bench.item(0))
    bench.finish(bench.start()[0], .failure(.dependencyDown("db", "refused")))
    bench.pass(.milliseconds(500))
    let probe = bench.start()[0]
    bench.machine.forget([TopicPartition("t.f.s", 0)])
    bench.finish(probe, .failure(.transient("cancelled", "")))
    bench.add(bench.item(1), bench.item(2))
    #expect(bench.start().count == 1)
  }

  @Test func whatWasLostIsThrownAway() {
    var bench = Bench()
    bench.add(bench.item(0), bench.item(1))
    let runs = bench.start()
    bench.finish(runs[0])
    bench.machine.forget([TopicPartition("t.f.s", 0)])
    bench.finish(runs[1])
    #expect(runs[1].cancellation == .lost)
    #expect(bench.settled() == [:] && bench.machine.inHand == 0)
  }

  @Test func aPartitionIsBusyUntilItsSettlementIsOver() throws {
    var bench = Bench()
    let work = [TopicPartition("t.f.s", 0)]
    bench.add(bench.item(0))
    bench.finish(bench.start()[0])
    let taken = bench.machine.takePrefix(limit: 100)
    let prefix = try #require(taken)
    bench.machine.revoke(work)
    #expect(bench.machine.isBusy(work))
    bench.machine.settled(prefix)
    #expect(!bench.machine.isBusy(work))
  }

  @Test func nothingStartsDuringADrain() {
    var bench = Bench { $0.concurrency = 1 }
    bench.add(bench.item(0), bench.item(1))
    let run = bench.start()[0]
    bench.machine.drain()
    #expect(bench.machine.fetchLimit == 0 && !bench.machine.isIdle)
    bench.finish(run)
    #expect(bench.start().isEmpty && bench.machine.isIdle)
    #expect(bench.settled() == ["t.f.s": 1])
  }
}

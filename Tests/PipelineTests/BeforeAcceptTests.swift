import Glibc
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// Stages that are tried while a client waits: what they say counts only if it is clear, and they can hurt nobody.
@Suite(.timeLimit(.minutes(1))) struct BeforeAcceptTests {
  private final class Script: Stage {
    private let act: @Sendable (Message, StageContext) async throws -> Outcome
    private let count = Mutex(0)
    init(_ act: @escaping @Sendable (Message, StageContext) async throws -> Outcome) { self.act = act }
    var calls: Int { count.withLock { $0 } }
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
      count.withLock { $0 += 1 }
      return try await act(message, context)
    }
  }

  private let clock = ManualClock()
  private let topology = Topology(name: "t", flows: [])

  private func beforeAccept(
    _ scripts: [(name: String, script: Script)], excluded: Set<String> = [], limits: BeforeAccept.Limits = .init(),
    _ change: (inout Topology.Flow) -> Void = { _ in }
  ) throws -> BeforeAccept {
    var registry = StageRegistry()
    for (name, script) in scripts {
      registry.register(name, "Test.", options: NoOptions.self, outcomes: ["bad"], onlyJudges: true) { _, _ in
        .one(script)
      }
    }
    var flow = Topology.Flow(
      "f", from: ["g"], stages: scripts.map { Topology.StageSettings($0.name) }, beforeAccept: scripts.map(\.name))
    change(&flow)
    return try #require(
      try BeforeAccept(
        flow, of: topology, stages: registry, dataFolder: "", contentStore: nil, clock: clock, random: SystemRandom(),
        log: Log(clock: clock) { _ in }, excluded: excluded, limits: limits))
  }

  private func message() -> Message {
    Message(
      id: MessageID(at: clock.now, random: SystemRandom()), flow: "f", source: "g", contentType: "text/plain",
      content: Content(Bytes("x")), attributes: [], traceParent: nil)
  }

  private func wait(until isSo: () -> Bool) async { while !isSo() { await Task.yield() } }

  @Test func whatIsClearlyRejectedIsRefused() async throws {
    let name = StageName(flow: "f", stage: "a")
    let rejects = Script { _, _ in .reject(reason: "size", message: "too large") }
    #expect(
      try await beforeAccept([("a", rejects)]).judge(message())
        == .rejected(stage: name, reason: "size", message: "too large"))
    let throwing = Script { _, _ in throw StageError.permanent("syntax", "no") }
    #expect(
      try await beforeAccept([("a", throwing)]).judge(message())
        == .rejected(stage: name, reason: "syntax", message: "no"))
    let routes = Script { message, _ in .route("bad", message) }
    let dead = try beforeAccept([("a", routes)]) { $0.stages[0].on = ["bad": .deadLetter] }
    #expect(await dead.judge(message()) == .rejected(stage: name, reason: "bad", message: "not wanted here"))
    for target in [nil, .drop, .flow("other")] as [Topology.Target?] {
      let tried = try beforeAccept([("a", routes)]) { $0.stages[0].on["bad"] = target }
      #expect(await tried.judge(message()) == .passed)
    }
  }

  /// One stage sees what the one before it has changed, in the order of the flow.
  @Test func stagesFollowEachOther() async throws {
    let first = Script { message, _ in
      var message = message
      message.annotate("seen", "first")
      return .forward(message)
    }
    let second = Script { message, _ in .reject(reason: message.annotation("seen") ?? "nothing", message: "") }
    let both = try beforeAccept([("a", first), ("b", second)]) { $0.beforeAccept = ["b", "a"] }
    #expect(
      await both.judge(message())
        == .rejected(stage: StageName(flow: "f", stage: "b"), reason: "first", message: ""))
  }

  @Test func whatIsNotClearIsLetThrough() async throws {
    let away = Script { _, _ in throw StageError.dependencyDown("scanner", "no answer") }
    let broken = Script { _, _ in throw StageError.transient("x", "y") }
    let later = Script { _, _ in .retry(reason: "x", after: nil) }
    for script in [away, broken, later] {
      #expect(try await beforeAccept([("a", script)]).judge(message()) == .undecided)
    }
    // Others are asked nevertheless, unless they need the one that has not answered.
    let rejects = Script { _, _ in .reject(reason: "size", message: "") }
    let behind = try beforeAccept([("a", broken), ("b", rejects)])
    #expect(
      await behind.judge(message()) == .rejected(stage: StageName(flow: "f", stage: "b"), reason: "size", message: ""))
    let needing = try beforeAccept([("a", broken), ("b", rejects)]) { $0.stages[1].needs = ["a"] }
    #expect(await needing.judge(message()) == .undecided)
    #expect(rejects.calls == 1)
  }

  @Test func aDependencyThatIsDownIsNotAskedForEveryMessage() async throws {
    let isDown = Mutex(true)
    let scanner = Script { message, _ in
      if isDown.withLock({ $0 }) { throw StageError.dependencyDown("scanner", "no answer") }
      return .forward(message)
    }
    let tried = try beforeAccept([("a", scanner)])
    for _ in 0..<10 { #expect(await tried.judge(message()) == .undecided) }
    #expect(scanner.calls == 1)
    isDown.withLock { $0 = false }
    clock.advance(by: .milliseconds(500))
    for _ in 0..<10 { #expect(await tried.judge(message()) == .passed) }
    #expect(scanner.calls == 11)
  }

  /// A stage that does not know cancellation costs each client its time, the third one opens its circuit, and none is
  /// sent after those that hang. Once they end, it is asked again.
  @Test func aStageThatHangs() async throws {
    let held = Mutex<[CheckedContinuation<Void, Never>]>([])
    let isHanging = Mutex(true)
    let hangs = Script { message, _ in
      if isHanging.withLock({ $0 }) { await withCheckedContinuation { c in held.withLock { $0.append(c) } } }
      return .forward(message)
    }
    let tried = try beforeAccept([("a", hangs)])
    let clients = (0..<3).map { _ in Task { await tried.judge(message()) } }
    await wait { held.withLock { $0.count == 3 } && clock.nextDeadline != nil }
    clock.advance(by: .seconds(5))
    for client in clients { #expect(await client.value == .undecided) }
    for _ in 0..<10 {
      clock.advance(by: .seconds(60))
      #expect(await tried.judge(message()) == .undecided)
    }
    #expect(hangs.calls == 3)
    isHanging.withLock { $0 = false }
    for continuation in held.withLock({ $0 }) { continuation.resume() }
    while await tried.judge(message()) != .passed { await Task.yield() }
  }

  /// However many clients wait, few messages are in stages' hands at once; those that are never looked at are let through.
  @Test func fewAtOnce() async throws {
    let held = Mutex<[CheckedContinuation<Void, Never>]>([])
    let slow = Script { message, _ in
      await withCheckedContinuation { c in held.withLock { $0.append(c) } }
      return .forward(message)
    }
    var limits = BeforeAccept.Limits()
    limits.concurrency = 2
    let tried = try beforeAccept([("a", slow)], limits: limits)
    let ended = Mutex(0)
    let clients = (0..<6).map { _ in
      Task { @Sendable in
        defer { ended.withLock { $0 += 1 } }
        return await tried.judge(message())
      }
    }
    await wait { held.withLock { $0.count == 2 } }
    await wait {
      clock.advance(by: .seconds(1))
      return ended.withLock { $0 == 6 }
    }
    for client in clients { #expect(await client.value == .undecided) }
    #expect(slow.calls == 2)
    // While every place is taken by what nobody waits for, nobody waits.
    #expect(await tried.judge(message()) == .undecided)
    for continuation in held.withLock({ $0 }) { continuation.resume() }
    limits.queue = 0
    let full = try beforeAccept([("a", slow)], limits: limits)
    #expect(await full.judge(message()) == .undecided)
    #expect(slow.calls == 2)
  }

  private final class Lock: Sendable {
    private let mutex = Mutex(false)
    func close() { mutex.withLock { $0 = true } }
    func open() { mutex.withLock { $0 = false } }
    var isClosed: Bool { mutex.withLock { $0 } }
  }

  /// A stage that blocks the threads it runs on blocks no one else.
  @Test func aStageThatBlocksItsThread() async throws {
    let lock = Lock()
    lock.close()
    let blocks = Script { message, _ in
      while lock.isClosed { sched_yield() }
      return .forward(message)
    }
    var limits = BeforeAccept.Limits()
    limits.threads = 1
    let tried = try beforeAccept([("a", blocks)], limits: limits)
    let clients = (0..<8).map { _ in Task { await tried.judge(message()) } }
    await wait { blocks.calls == 1 }
    let other = try beforeAccept([("b", Script { message, _ in .forward(message) })])
    #expect(await other.judge(message()) == .passed)
    lock.open()
    for client in clients { #expect(await client.value == .passed) }
  }

  @Test func aStageThatTookTheProcessDownIsLeftAlone() async throws {
    let rejects = Script { _, _ in .reject(reason: "size", message: "") }
    let passes = Script { message, _ in .forward(message) }
    let tried = try beforeAccept([("a", rejects), ("b", passes)], excluded: ["t.f.a"])
    #expect(await tried.judge(message()) == .passed)
    #expect((rejects.calls, passes.calls) == (0, 1))
  }
}

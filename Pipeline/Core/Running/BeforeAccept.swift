import Synchronization

/// Tries the stages that a flow names in `before-accept` while a source's client waits, so that what they would reject is
/// refused to it, and never becomes a dead letter.
///
/// It is an opinion, and nothing is remembered of it: a message that is let through passes the same stages again behind
/// the queue. So whenever there is no clear answer it is let through: a stage that fails, takes too long, finds what it
/// depends on down, or wants to see the message later. To put the client off instead would lose nothing either, but would
/// make the gateway as weak as every stage's dependency; behind the queue the message waits as long as it takes.
///
/// Stages run on threads of their own, few at a time. One that hangs keeps its place until it ends; while none is left,
/// and while a stage does not answer again and again, messages are let through at once.
public final class BeforeAccept: Sendable {
  /// What bounds it.
  public struct Limits: Sendable {
    /// How long a client waits, for all stages together.
    public var time = Duration.seconds(5)
    /// Messages that are tried at once.
    public var concurrency = 16
    /// Messages that wait for that.
    public var queue = 10_000
    /// Threads that stages run on.
    public var threads = 4

    /// Five seconds, 16 messages on four threads.
    public init() {}
  }

  /// What the stages say.
  public enum Verdict: Sendable, Hashable {
    /// None of them rejects it.
    case passed
    /// A stage rejects it for good: its reason code, such as `recipient.unknown`, and its text.
    case rejected(stage: StageName, reason: String, message: String)
    /// Not all of them have answered.
    case undecided
  }

  private struct Trial: Sendable {
    let stage: AnyStage
    let settings: Topology.StageSettings
    let group: String
    let context: StageContext
  }

  /// A message whose client waits. Its variables are touched under the lock only.
  private final class Job: @unchecked Sendable {
    enum Phase { case queued, running, over }
    /// Nil once nobody waits for it any more.
    var message: Message?
    let deadline: Timestamp
    let continuation: UnsafeContinuation<Verdict, Never>
    var phase = Phase.queued
    /// The consumer group of the stage that has it in hand.
    var group: String?
    var task: Task<Void, Never>?

    init(_ message: Message, _ deadline: Timestamp, _ continuation: UnsafeContinuation<Verdict, Never>) {
      self.message = message
      self.deadline = deadline
      self.continuation = continuation
    }
  }

  private struct State {
    /// Messages in the stages' hands, and how many of these nobody waits for any more.
    var running = 0
    var overdue = 0
    var queue = Queue<Job>()
    /// By deadline, since all have the same time.
    var watched = Queue<Job>()
    var isWatching = false
    /// By consumer group; none for a stage that has always answered.
    var doubts: [String: Doubt] = [:]
  }

  /// What is held against a stage.
  private struct Doubt {
    var circuit = Circuit()
    /// Messages in a row that were not done in time.
    var timeouts = 0
    /// Messages that nobody waits for any more, and that are still in its hands.
    var overdue = 0
  }

  private let trials: [Trial]
  private let limits: Limits
  private let clock: any PipelineClock
  private let log: Log
  private let metrics: Metrics
  private let executor: ThreadPool
  private let journal: (any InHandJournal)?
  private let state = Mutex(State())

  /// What a flow's `before-accept` names, ready to be tried; nil if it names nothing.
  ///
  /// - Parameters:
  ///   - excluded: consumer groups of stages that are not to be tried, since one took this process down.
  ///   - journal: notes what is in hand, for the case that a stage takes this process down.
  /// - Throws: whatever a stage throws when it is made.
  public init?(
    _ flow: Topology.Flow, of topology: Topology, stages: StageRegistry, dataFolder: String,
    contentStore: (any ContentStore)?, clock: any PipelineClock, random: any RandomSource, log: Log,
    metrics: Metrics = Metrics(), excluded: Set<String> = [], journal: (any InHandJournal)? = nil,
    limits: Limits = Limits()
  ) throws {
    var trials: [Trial] = []
    // In the order in which a message passes them, however they are named.
    for settings in flow.stages where flow.beforeAccept.contains(settings.name) {
      let name = StageName(flow: flow.name, stage: settings.name)
      let group = topology.topics(flow.name, settings).group
      guard let entry = stages[settings.use], !excluded.contains(group) else { continue }
      let setup = StageSetup(
        name: name, dataFolder: dataFolder, clock: clock, random: random, contentStore: contentStore)
      trials.append(
        Trial(
          stage: try entry.make(settings.options, setup), settings: settings, group: group,
          context: StageContext(
            stage: name, clock: clock, deadline: Timestamp(microseconds: 0),
            log: log.with(("flow", flow.name), ("stage", settings.name)), metrics: metrics, random: random)))
    }
    guard !trials.isEmpty else { return nil }
    self.trials = trials
    self.limits = limits
    self.clock = clock
    self.log = log
    self.metrics = metrics
    self.journal = journal
    executor = ThreadPool(threads: limits.threads)
  }

  /// What the stages say of `message`, within the time for it. Nothing is changed anywhere.
  public func judge(_ message: Message) async -> Verdict {
    let verdict = await withUnsafeContinuation { continuation in
      let job = Job(message, clock.now + limits.time, continuation)
      let (isTaken, startsWatching) = state.withLock { state in
        guard state.overdue < limits.concurrency, state.queue.count < limits.queue else { return (false, false) }
        defer { state.isWatching = true }
        state.queue.push(job)
        state.watched.push(job)
        return (true, !state.isWatching)
      }
      guard isTaken else { return continuation.resume(returning: .undecided) }
      startNext()
      if startsWatching { Task { await self.watch() } }
    }
    let result =
      switch verdict {
      case .passed: "passed"
      case .rejected: "rejected"
      case .undecided: "undecided"
      }
    metrics.add("mailflow_before_accept_total{flow=\"\(trials[0].context.stage.flow)\",result=\"\(result)\"}")
    return verdict
  }

  // MARK: One after another

  /// Starts what waits, as long as there is room.
  private func startNext() {
    while true {
      let job = state.withLock { state -> Job? in
        while state.running < limits.concurrency, let job = state.queue.pop() {
          guard job.phase == .queued else { continue }  // nobody waits for it any more
          job.phase = .running
          state.running += 1
          return job
        }
        return nil
      }
      guard let job else { return }
      // Not a child of anybody: nobody waits for one that hangs.
      let task = Task.detached(executorPreference: executor) {
        let verdict = await self.run(job)
        self.end(job, verdict)
      }
      let isOver = state.withLock { _ in
        job.task = task
        return job.phase == .over
      }
      if isOver { task.cancel() }
    }
  }

  private func end(_ job: Job, _ verdict: Verdict) {
    let isWaitedFor = state.withLock { state in
      state.running -= 1
      guard job.phase == .running else {
        state.overdue -= 1
        return false
      }
      job.phase = .over
      job.message = nil
      return true
    }
    if isWaitedFor { job.continuation.resume(returning: verdict) }
    startNext()
  }

  /// Lets go of clients whose time is over; ends when nobody waits.
  private func watch() async {
    while true {
      let (next, due) = state.withLock { state -> (Timestamp?, [Job]) in
        let now = clock.now
        var due: [Job] = []
        while let job = state.watched.pop() {
          guard job.phase != .over else { continue }
          guard job.deadline <= now else {
            state.watched.pushFront(job)
            return (job.deadline, due)
          }
          if job.phase == .running {
            state.overdue += 1
            if let group = job.group { late(&state.doubts[group, default: Doubt()], group) }
          }
          job.phase = .over
          job.message = nil
          due.append(job)
        }
        state.isWatching = false
        return (nil, due)
      }
      for job in due {
        job.task?.cancel()
        job.continuation.resume(returning: .undecided)
      }
      guard let next else { return }
      try? await clock.sleep(until: next)
    }
  }

  // MARK: Through the stages

  private func run(_ job: Job) async -> Verdict {
    guard var message = state.withLock({ _ in job.message }) else { return .undecided }
    var unanswered: Set<String> = []
    for trial in trials {
      // A stage may count on those that it needs.
      guard unanswered.isDisjoint(with: trial.settings.needs), begin(trial, job) else {
        unanswered.insert(trial.settings.name)
        continue
      }
      let ticket = journal?.begin(trial.group, message.id, deadline: job.deadline)
      let result = await outcome(of: trial, message, job.deadline)
      if let ticket { journal?.end(ticket) }
      guard end(trial, job, result) else { return .undecided }
      switch result {
      case .success(.forward(let changed)): message = changed
      case .success(.route(let outcome, let changed)):
        switch trial.settings.on[outcome] {
        case nil: message = changed
        case .deadLetter: return .rejected(stage: trial.context.stage, reason: outcome, message: "not wanted here")
        default: return .passed  // where it leads is none of a client's business
        }
      case .success(.reject(let reason, let text)):
        return .rejected(stage: trial.context.stage, reason: reason, message: text)
      case .success(.drop), .success(.split): return unanswered.isEmpty ? .passed : .undecided
      case .success(.retry): unanswered.insert(trial.settings.name)
      case .failure(let error):
        if error.kind == .permanent {
          return .rejected(stage: trial.context.stage, reason: error.reason, message: error.message)
        }
        unanswered.insert(trial.settings.name)
      }
    }
    return unanswered.isEmpty ? .passed : .undecided
  }

  private func outcome(of trial: Trial, _ message: Message, _ deadline: Timestamp) async -> Result<Outcome, StageError>
  {
    let context = trial.context.until(deadline)
    do {
      switch trial.stage {
      case .one(let stage): return .success(try await stage.process(message, context))
      case .batch(let stage, _):
        guard let outcome = try await stage.process([message], context).first else {
          return .failure(.transient("stage.outcomes", "no outcome for a message"))
        }
        return .success(outcome)
      }
    } catch { return .failure(StageError.classify(error)) }
  }

  // MARK: Doubts

  /// Messages in a row that were not done in time, after which a stage is left alone for a while.
  private static let patience = 3

  /// Whether the stage is to be asked about this message.
  private func begin(_ trial: Trial, _ job: Job) -> Bool {
    state.withLock { state in
      guard job.phase == .running else { return false }
      if var doubt = state.doubts[trial.group] {
        // While one hangs there, none is sent after it to see.
        if doubt.circuit.state != .closed, doubt.overdue > 0 { return false }
        if doubt.circuit.allowance(at: clock.now) == 0 { return false }
        doubt.circuit.started()
        state.doubts[trial.group] = doubt
      }
      job.group = trial.group
      return true
    }
  }

  /// Notes the stage's answer; false if it came too late.
  private func end(_ trial: Trial, _ job: Job, _ result: Result<Outcome, StageError>) -> Bool {
    state.withLock { state in
      job.group = nil
      guard job.phase == .running else {
        state.doubts[trial.group]?.overdue -= 1
        return false
      }
      if case .failure(let error) = result, case .dependencyDown = error.kind {
        fail(&state.doubts[trial.group, default: Doubt()], error.description, trial.group)
      } else if var doubt = state.doubts[trial.group] {
        doubt.circuit.passed()
        doubt.timeouts = 0
        state.doubts[trial.group] = doubt
      }
      return true
    }
  }

  /// A message was not done in time.
  private func late(_ doubt: inout Doubt, _ group: String) {
    doubt.overdue += 1
    doubt.timeouts += 1
    if doubt.timeouts >= Self.patience || doubt.circuit.state != .closed { fail(&doubt, "no answer in time", group) }
  }

  private func fail(_ doubt: inout Doubt, _ reason: String, _ group: String) {
    if doubt.circuit.state == .closed {
      log.write(
        .warning, "a stage is not tried before accepting for a while: mail goes to its queue", ("group", group),
        ("reason", reason))
    }
    doubt.circuit.failed(reason, at: clock.now)
  }
}

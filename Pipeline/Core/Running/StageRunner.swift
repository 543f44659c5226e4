import Synchronization

/// Runs one stage of one flow: pulls records, works on up to `concurrency` messages at once, publishes what comes of
/// them, and settles the contiguous prefix, outputs and progress in one step.
///
/// Settled only after its outputs are durable and together with them: a crash in between delivers a record again, so
/// stages must accept repeats.
///
/// Four kinds of child tasks share one `StageMachine`: one fetches, one settles, one watches the time, and pullers work.
/// Pullers run on the executor for stages, so that a stage that blocks its thread does not stop the other three.
public final class StageRunner: Sendable {
  private let stage: AnyStage
  private let disposer: Disposer
  private let reception: Reception
  private let settings: Topology.StageSettings
  private let readsContent: Bool
  private let leftovers: [String]
  private let mode: Mode
  private let environment: Environment
  private let log: Log
  /// For every message, but for its deadline.
  private let context: StageContext

  private struct State {
    var machine: StageMachine
    var published = StageState.starting
    /// When time is looked at next.
    var watchedUntil = Timestamp.distantPast

    /// Whether time has to be looked at sooner than it will be.
    var isWatchedTooLate: Bool { machine.nextMoment < watchedUntil }
  }
  private let state: Mutex<State>
  private let fetchMayGoOn = Signal()
  private let somethingIsDone = Signal()
  private let pullersWanted = Signal()
  private let timeMatters = Signal()
  private let stopping = Mutex(false)

  /// The flow and stage.
  public var name: StageName { disposer.name }

  /// A runner for `stage`, which nothing starts yet. `leftovers` are retry topics of delays that it had before.
  public init(
    _ stage: AnyStage, settings: Topology.StageSettings, flow: String, topology: Topology, readsContent: Bool = true,
    leftovers: [String] = [], mode: Mode = .normal(suspects: []), environment: Environment
  ) {
    self.stage = stage
    self.settings = settings
    self.readsContent = readsContent
    self.leftovers = leftovers
    self.mode = mode
    self.environment = environment
    var isRemoved = false
    if case .removed = mode { isRemoved = true }
    disposer = Disposer(topology: topology, flow: flow, stage: settings, isRemoved: isRemoved)
    reception = Reception(disposer, mode, timeout: settings.timeout, environment)
    log = environment.log.with(("flow", flow), ("stage", settings.name))
    context = StageContext(
      stage: disposer.name, clock: environment.clock, deadline: Timestamp(microseconds: 0), log: log,
      metrics: environment.metrics, random: environment.random)
    var effective = settings
    if case .alone = mode {
      effective.concurrency = 1
      effective.order = .none
      effective.slowAfter = settings.timeout + .seconds(1)
    }
    var limit: Int?
    if case .batch(_, let most) = stage { limit = max(1, most) }
    if case .alone = mode, limit != nil { limit = 1 }
    let prefetch = if case .alone = mode { 1 } else { max(512, 4 * settings.concurrency, 4 * (limit ?? 1)) }
    state = Mutex(
      State(
        machine: StageMachine(settings: effective, disposer: disposer, batchLimit: limit, prefetch: prefetch)))
  }

  // MARK: Life

  /// Runs until `drain` was called and everything in hand is settled or given back.
  public func run() async {
    var pause = Duration.milliseconds(50)
    while !isStopping {
      do {
        let consumer = try await environment.broker.join(membership)
        let joined = environment.clock.now
        publish(.running)
        await member(consumer)
        await consumer.close()
        // A membership that ends at once may do so again: two processes that take each other's name must not be all that
        // the broker is busy with.
        if environment.clock.now - joined > .seconds(10) { pause = .milliseconds(50) }
        if !isStopping, !Task.isCancelled {
          try? await environment.clock.sleep(for: pause)
          pause = min(pause * 2, .seconds(10))
        }
      } catch {
        guard error.kind != .closed, error.kind != .cancelled else { return }
        publish(.waiting(reason: error.description))
        log.write(.warning, "cannot join its consumer group", ("error", error.description))
        try? await environment.clock.sleep(for: pause)
        pause = min(pause * 2, .seconds(10))
      }
      if Task.isCancelled { return }
      resetMachine()
    }
  }

  /// Pulls nothing more, finishes what is in hand, settles, leaves. `run` returns then. May be called at any time.
  public func drain() {
    stopping.withLock { $0 = true }
    state.withLock { $0.machine.drain() }
    for signal in [fetchMayGoOn, somethingIsDone, pullersWanted, timeMatters] { signal.raise() }
  }

  /// Gives up what is still being worked on after `drain`: it will be delivered again.
  public func abandon() {
    state.withLock { $0.machine.cancelAll() }
    somethingIsDone.raise()
  }

  private var isStopping: Bool { stopping.withLock { $0 } }

  private var membership: Membership {
    let instance = environment.instance
    if case .alone = mode {
      return Membership(
        group: disposer.topics.suspect, topics: [disposer.topics.suspect], instance: instance,
        loadsValues: readsContent)
    }
    return Membership(
      group: disposer.topics.group, topics: disposer.topics.consumed + leftovers, instance: instance,
      loadsValues: readsContent)
  }

  private func resetMachine() {
    state.withLock { state in
      let old = state.machine
      old.cancelAll()
      state.machine = StageMachine(
        settings: old.settings, disposer: disposer, batchLimit: old.batchLimit, prefetch: old.prefetch)
      if isStopping { state.machine.drain() }
    }
  }

  /// One membership, from joining the group to leaving it.
  private func member(_ consumer: any Consumer) async {
    await withDiscardingTaskGroup { group in
      let ended = Mutex(false)
      let end = { @Sendable in
        ended.withLock { $0 = true }
        for signal in [self.pullersWanted, self.fetchMayGoOn, self.somethingIsDone, self.timeMatters] { signal.raise() }
      }
      let hasEnded = { @Sendable in ended.withLock { $0 } }
      group.addTask {
        await self.fetch(consumer, hasEnded)
        end()
      }
      group.addTask {
        await self.settle(consumer, hasEnded)
        end()
      }
      group.addTask { await self.watchTime(consumer, hasEnded) }
      while !hasEnded(), !Task.isCancelled {
        while state.withLock({ state in
          guard state.machine.wantsPuller(at: environment.clock.now) else { return false }
          state.machine.pullerStarted()
          return true
        }) {
          // A preference of nil is not the same as none: in optimised code it leads to the global pool.
          if let executor = environment.stageExecutor {
            group.addTask(executorPreference: executor) { await self.pull() }
          } else {
            group.addTask { await self.pull() }
          }
        }
        await pullersWanted.wait()
      }
      state.withLock { $0.machine.cancelAll() }
      group.cancelAll()
    }
  }

  // MARK: Fetching

  private func fetch(_ consumer: any Consumer, _ hasEnded: @Sendable () -> Bool) async {
    var patience = Duration.seconds(1)
    while !hasEnded(), !Task.isCancelled {
      let (limit, isDraining) = state.withLock { ($0.machine.fetchLimit, $0.machine.isDraining) }
      if isDraining { return await waitUntilDrained(hasEnded) }
      guard limit > 0 else {
        await fetchMayGoOn.wait()
        continue
      }
      do {
        switch try await next(consumer, limit) {
        case nil: continue
        case .records(let records)?: await take(records, consumer)
        case .assigned(let partitions)?:
          log.write(.debug, "partitions assigned", ("count", "\(partitions.count)"))
        case .revoking(let partitions)?: try await giveUp(partitions, consumer, hasEnded)
        case .lost(let partitions)?:
          log.write(.warning, "partitions lost", ("count", "\(partitions.count)"))
          state.withLock { $0.machine.forget(partitions) }
        }
      } catch {
        if error.kind == .cancelled || error.kind == .closed { return }
        log.write(.error, "cannot consume", ("error", error.description))
        if error.kind == .fenced { return }
        publish(.waiting(reason: error.description))
        // One partition that cannot be read on rests until somebody says where to go on; the others do not.
        let isOnePartition = error.kind == .outOfRange
        try? await environment.clock.sleep(for: isOnePartition ? patience : .seconds(1))
        if isOnePartition { patience = min(patience * 2, .seconds(10)) }
        if !error.isTransient, !isOnePartition { return }
      }
    }
  }

  /// The consumer's next event; nil if a drain began meanwhile. Waiting is cut short by `drain`.
  private func next(_ consumer: any Consumer, _ limit: Int) async throws(BrokerError) -> ConsumerEvent? {
    do {
      return try await withThrowingTaskGroup(of: ConsumerEvent?.self) { group in
        group.addTask { try await consumer.next(limit: limit) }
        group.addTask {
          while !self.isStopping, !Task.isCancelled { await self.fetchMayGoOn.wait() }
          return nil
        }
        defer { group.cancelAll() }
        return try await group.next() ?? nil
      }
    } catch let error as BrokerError {
      throw error
    } catch {
      throw BrokerError(.cancelled, "the task was cancelled")
    }
  }

  private func take(_ records: [Record], _ consumer: any Consumer) async {
    let now = environment.clock.now
    let received = reception.take(records, at: now)
    for (record, version) in received.newer {
      log.write(
        .error, "a record of a newer version stops its partition; start a newer build",
        ("partition", "\(record.topicPartition)"), ("offset", "\(record.offset)"), ("version", "\(version)"))
    }
    let (changes, isAnyDone, isWatchedTooLate) = state.withLock { state in
      state.machine.add(received.items, at: now)
      // What needs no work, and what the slow lane brings back of work that has ended meanwhile.
      return (state.machine.pauseChanges(), received.items.contains(where: \.item.isDone), state.isWatchedTooLate)
    }
    try? await consumer.pause(changes.pause + received.newer.map(\.record.topicPartition))
    try? await consumer.resume(changes.resume)
    if isAnyDone { somethingIsDone.raise() }
    pullersWanted.raise()
    if isWatchedTooLate { timeMatters.raise() }
  }

  private func giveUp(
    _ partitions: [TopicPartition], _ consumer: any Consumer, _ hasEnded: @Sendable () -> Bool
  ) async throws(BrokerError) {
    let deadline = environment.clock.now + membership.revokeDeadline / 2
    state.withLock { $0.machine.revoke(partitions) }
    while !hasEnded(), state.withLock({ $0.machine.isBusy(partitions) }) {
      if environment.clock.now >= deadline { state.withLock { $0.machine.cancelWork(of: partitions) } }
      somethingIsDone.raise()
      do { try await environment.clock.sleep(for: .milliseconds(10)) } catch { return }
    }
    state.withLock { $0.machine.forget(partitions) }
    try await consumer.release(partitions)
  }

  private func waitUntilDrained(_ hasEnded: @Sendable () -> Bool) async {
    while !hasEnded(), !Task.isCancelled, !state.withLock({ $0.machine.isIdle }) { await fetchMayGoOn.wait() }
    // What is done now is settled by the settling task, which ends when nothing is left.
    somethingIsDone.raise()
    while !hasEnded(), !Task.isCancelled { await fetchMayGoOn.wait() }
  }

  // MARK: Working

  private func pull() async { await withUnsafeCurrentTask { await pull(as: $0) } }

  private func pull(as task: UnsafeCurrentTask?) async {
    var turn = state.withLock { state in
      let turn = begin(&state)
      turn?.run.task = task
      return turn
    }
    if turn?.isWatchedTooLate == true { timeMatters.raise() }
    while let run = turn?.run {
      // Others may be needed beside this one: each that starts brings the next.
      if turn?.wantsPuller == true { pullersWanted.raise() }
      if case .alone(_, let gate) = mode {
        await gate.enter()
        turn = await work(run, as: task)
        gate.leave()
      } else {
        turn = await work(run, as: task)
      }
    }
    pullersWanted.raise()
  }

  private struct Turn {
    let run: StageMachine.Run
    let wantsPuller: Bool
    let isWatchedTooLate: Bool
  }

  /// The next run for this puller; nil: it ends.
  private func begin(_ state: inout State) -> Turn? {
    let now = environment.clock.now
    guard !Task.isCancelled, let run = state.machine.take(at: now) else {
      state.machine.pullerEnded()
      return nil
    }
    return Turn(
      run: run, wantsPuller: state.machine.wantsPuller(at: now), isWatchedTooLate: state.isWatchedTooLate)
  }

  /// Works on a run, and returns the next one: the lock is taken once a message, since all pullers of a stage share it.
  private func work(_ run: StageMachine.Run, as task: UnsafeCurrentTask?) async -> Turn? {
    var tickets: [Int] = []
    if let journal = environment.journal {
      for item in run.items {
        tickets.append(journal.begin(disposer.topics.group, item.message.id, deadline: run.deadline))
      }
    }
    let endings = await process(run)
    let (turn, before, after, isDraining, isWatchedTooLate) = state.withLock { state in
      let before = state.machine.circuit.state
      state.machine.finish(run, endings, at: environment.clock.now)
      let after = state.machine.circuit.state
      let turn = begin(&state)
      turn?.run.task = task
      return (turn, before, after, state.machine.isDraining, state.isWatchedTooLate)
    }
    for ticket in tickets { environment.journal?.end(ticket) }
    tellCircuit(before, after)
    if isWatchedTooLate { timeMatters.raise() }
    somethingIsDone.raise()
    if isDraining { fetchMayGoOn.raise() }
    return turn
  }

  private func process(_ run: StageMachine.Run) async -> [StageMachine.Ending] {
    let context = context.until(run.deadline)
    do {
      switch stage {
      case .one(let stage):
        return [ending(.success(try await stage.process(run.items[0].message, context)), run.items[0], run)]
      case .batch(let stage, _):
        let outcomes = try await stage.process(run.items.map(\.message), context)
        guard outcomes.count == run.items.count else {
          let text = "\(outcomes.count) outcomes for \(run.items.count) messages"
          return run.items.map { ending(.failure(.permanent("stage.outcomes", text)), $0, run) }
        }
        return zip(run.items, outcomes).map { ending(.success($1), $0, run) }
      }
    } catch {
      let cancellation = state.withLock { _ in run.cancellation }
      if case .timeout = cancellation, let item = run.items.first, item.limit != nil {
        // Its first try is over, and it has heard of that: no attempt is spent.
        let outputs = disposer.aside(item.message, .suspect, to: disposer.topics.suspect, at: environment.clock.now)
        return [StageMachine.Ending(.failure(.transient("timeout", "first try alone")), outputs: outputs)]
      }
      let failure =
        switch cancellation {
        case .timeout: StageError.transient("timeout", "not done within \(DurationText.short(settings.timeout))")
        default: StageError.classify(error)
        }
      return run.items.map { ending(.failure(failure), $0, run) }
    }
  }

  private func ending(
    _ result: Result<Outcome, StageError>, _ item: StageMachine.Item, _ run: StageMachine.Run
  ) -> StageMachine.Ending {
    StageMachine.Ending(result, outputs: records(of: result, item, run, environment.clock.now))
  }

  private func records(
    of result: Result<Outcome, StageError>, _ item: StageMachine.Item, _ run: StageMachine.Run, _ ended: Timestamp
  ) -> [OutgoingRecord] {
    let work = Disposer.Work(started: run.started, ended: ended, queued: item.queuedAt)
    switch result {
    case .success(let outcome): return disposer.outputs(of: outcome, item.message, in: item.record, work)
    case .failure(let error):
      if case .dependencyDown = error.kind { return [] }
      return disposer.outputs(of: error, item.message, in: item.record, work)
    }
  }

  private func tellCircuit(_ before: Circuit.State, _ after: Circuit.State) {
    guard before != after else { return }
    switch after {
    case .closed:
      log.write(.info, "circuit closed")
      publish(.running)
      pullersWanted.raise()
    case .open(_, let reason, _):
      if before == .closed { log.write(.warning, "circuit open", ("reason", reason)) }
      publish(.circuitOpen(reason: reason))
    case .probing: break
    }
  }

  // MARK: Settling

  /// The most records of one settlement.
  private static let settleLimit = 2048

  private func settle(_ consumer: any Consumer, _ hasEnded: @Sendable () -> Bool) async {
    while !hasEnded() {
      let (next, isWatchedTooLate) = state.withLock { state in
        (state.machine.takePrefix(limit: Self.settleLimit), state.isWatchedTooLate)
      }
      if isWatchedTooLate { timeMatters.raise() }
      guard let prefix = next else {
        if state.withLock({ $0.machine.isDraining && $0.machine.isIdle }) { return }
        if Task.isCancelled { return }
        await somethingIsDone.wait()
        continue
      }
      let settlement = prefix.settlement()
      guard await settled(settlement, consumer) else { return }
      state.withLock { $0.machine.settled(prefix) }
      for output in settlement.outputs where output.topic == disposer.topics.dead {
        log.write(
          .warning, "dead letter", ("id", output.headers[HeaderName.id] ?? ""),
          ("reason", output.headers[HeaderName.deadReason] ?? ""),
          ("text", output.headers[HeaderName.deadMessage] ?? ""))
      }
      fetchMayGoOn.raise()
      pullersWanted.raise()
    }
  }

  /// Settles, again and again while the broker says that nothing happened. False: the membership is over.
  private func settled(_ settlement: Settlement, _ consumer: any Consumer) async -> Bool {
    var pause = Duration.milliseconds(20)
    while true {
      do {
        try await consumer.settle(settlement)
        return true
      } catch {
        guard error.isTransient, !Task.isCancelled else {
          if error.kind != .closed { log.write(.warning, "not settled", ("error", error.description)) }
          return false
        }
        publish(.waiting(reason: error.description))
        log.write(.warning, "settling waits for the broker", ("error", error.description))
        do { try await environment.clock.sleep(for: pause) } catch { return false }
        pause = min(pause * 2, .seconds(5))
      }
    }
  }

  // MARK: Time

  /// How late a time-out, a retry or a slow message may be noticed: they are looked at together.
  private static let tick = Duration.milliseconds(5)

  private func watchTime(_ consumer: any Consumer, _ hasEnded: @Sendable () -> Bool) async {
    let clock = environment.clock
    while !hasEnded(), !Task.isCancelled {
      let moment = state.withLock { state in
        state.watchedUntil = max(state.machine.nextMoment, clock.now + Self.tick)
        return state.watchedUntil
      }
      // Woken before by whatever has to be looked at sooner, and at the end.
      guard await clock.sleep(until: moment, or: timeMatters) else { continue }
      let changes = state.withLock { state in
        state.machine.tick(at: clock.now)
        return state.machine.pauseChanges()
      }
      if !changes.pause.isEmpty { try? await consumer.pause(changes.pause) }
      if !changes.resume.isEmpty { try? await consumer.resume(changes.resume) }
      somethingIsDone.raise()
      pullersWanted.raise()
    }
  }

  private func publish(_ new: StageState) {
    let changed = state.withLock { state in
      guard state.published != new else { return false }
      state.published = new
      return true
    }
    if changed { environment.stateChanged(name, new) }
  }
}

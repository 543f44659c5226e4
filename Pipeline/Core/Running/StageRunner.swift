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
  let stage: AnyStage
  let disposer: Disposer
  private let reception: Reception
  let settings: Topology.StageSettings
  private let readsContent: Bool
  private let leftovers: [String]
  let mode: Mode
  let environment: Environment
  let log: Log
  /// For every message, but for its deadline.
  let context: StageContext

  struct State {
    var machine: StageMachine
    var published = StageState.starting
    /// When time is looked at next.
    var watchedUntil = Timestamp.distantPast

    /// Whether time has to be looked at sooner than it will be.
    var isWatchedTooLate: Bool { machine.nextMoment < watchedUntil }
  }
  let state: Mutex<State>
  let fetchMayGoOn = Signal()
  let somethingIsDone = Signal()
  let pullersWanted = Signal()
  let timeMatters = Signal()
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

  func publish(_ new: StageState) {
    let changed = state.withLock { state in
      guard state.published != new else { return false }
      state.published = new
      return true
    }
    if changed { environment.stateChanged(name, new) }
  }
}

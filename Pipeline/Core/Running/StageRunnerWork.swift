import Synchronization

/// How messages in hand are worked on: tasks that pull the next one, as many as the machine wants.
extension StageRunner {
  func pull() async { await withUnsafeCurrentTask { await pull(as: $0) } }

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
}

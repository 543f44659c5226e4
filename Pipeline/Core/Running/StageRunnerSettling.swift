import Synchronization

/// How what is done becomes durable: one settlement after another.
extension StageRunner {
  /// The most records of one settlement.
  private static let settleLimit = 2048

  func settle(_ consumer: any Consumer, _ hasEnded: @Sendable () -> Bool) async {
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
}

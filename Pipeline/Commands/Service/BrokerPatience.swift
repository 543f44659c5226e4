import Pipeline

extension Topology {
  /// Does what a service that starts needs its broker for. A cluster that is away is waited for, as it is later on:
  /// machines start in any order. Whoever started the service hears of it in the log; `check --connect` does not wait.
  ///
  /// - Parameter isOver: whether it need not wait any longer: then the error is thrown.
  func whenBrokerAnswers<R>(
    _ clock: any PipelineClock, _ log: Log, until isOver: () -> Bool = { false }, _ body: () async throws -> R
  ) async throws -> R {
    var pause = Duration.milliseconds(500)
    while true {
      do { return try await body() } catch {
        // A file of this machine does not come back by itself.
        guard broker != .embedded, let away = error as? BrokerError, away.kind == .unavailable, !isOver() else {
          throw error
        }
        log.write(.warning, "waits for the broker", ("error", away.description))
        try await clock.sleep(for: pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
  }
}

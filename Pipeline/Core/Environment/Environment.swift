/// Time, as everything in the pipeline sees it: the machine's, a test's, or a simulation's.
public protocol PipelineClock: Sendable {
  /// The present; never goes backwards within a process.
  var now: Timestamp { get }

  /// Returns at `deadline` or later, at once if it is past.
  ///
  /// - Throws: `CancellationError` as soon as the task is cancelled.
  func sleep(until deadline: Timestamp) async throws
}

extension PipelineClock {
  /// Sleeps for `duration`.
  public func sleep(for duration: Duration) async throws { try await sleep(until: now + duration) }

  /// Sleeps until `deadline`, or until `signal` is raised or the task cancelled. True if it slept to the end.
  public func sleep(until deadline: Timestamp, or signal: Signal) async -> Bool {
    guard deadline != .distantFuture else {
      await signal.wait()
      return false
    }
    return await withTaskGroup(of: Bool.self) { group in
      group.addTask {
        await signal.wait()
        return false
      }
      group.addTask { (try? await self.sleep(until: deadline)) != nil }
      let first = await group.next() ?? false
      group.cancelAll()
      return first
    }
  }
}

/// A source of random bits: the system's, or one that a seed repeats.
public protocol RandomSource: Sendable {
  /// 64 random bits.
  func next() -> UInt64
}

/// The system's random generator.
public struct SystemRandom: RandomSource {
  /// The system's random generator.
  public init() {}
  /// 64 random bits.
  public func next() -> UInt64 { UInt64.random(in: .min ... .max) }
}

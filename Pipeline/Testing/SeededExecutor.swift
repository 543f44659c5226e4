import Glibc
public import Pipeline
import Synchronization

/// SplitMix64 (Steele, Lea, Flood 2014): a small generator whose whole future is its seed.
public struct SplitMix: RandomNumberGenerator, Sendable {
  private var state: UInt64
  /// A generator with this seed.
  public init(seed: UInt64) { state = seed }
  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// Random bits that a seed repeats, for code under simulation.
public final class SeededRandom: RandomSource {
  private let generator: Mutex<SplitMix>
  /// Bits from this seed.
  public init(seed: UInt64) { generator = Mutex(SplitMix(seed: seed)) }
  /// 64 random bits.
  public func next() -> UInt64 { generator.withLock { $0.next() } }
}

/// Runs ordinary async code on one thread, and lets a seed choose which of the ready jobs goes next.
///
/// The same code with the same seed takes the same steps, in this process and in any other. What must not be met on the
/// way: threads, Dispatch, wall time, unstructured tasks, and the order of a `Dictionary` or `Set`.
public final class SeededExecutor: TaskExecutor {
  private struct State {
    var jobs: [UnownedJob] = []
    var generator: SplitMix
    var steps = 0
    var choices = 0
    var fingerprint: UInt64 = 0xCBF2_9CE4_8422_2325
    var strays = 0
  }
  private let thread = pthread_self()
  private let state: Mutex<State>

  /// An executor whose choices come from `seed`.
  public init(seed: UInt64) { state = Mutex(State(generator: SplitMix(seed: seed))) }

  /// Makes the job one of those to choose from.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isStray = pthread_equal(thread, pthread_self()) == 0
    state.withLock { state in
      state.jobs.append(job)
      if isStray { state.strays += 1 }
    }
  }

  /// Runs one ready job; false if there is none.
  public func step() -> Bool {
    let job = state.withLock { state -> UnownedJob? in
      guard !state.jobs.isEmpty else { return nil }
      var index = 0
      if state.jobs.count > 1 {
        index = Int.random(in: 0..<state.jobs.count, using: &state.generator)
        state.choices += 1
        state.fingerprint =
          (state.fingerprint ^ UInt64(index) &+ UInt64(state.jobs.count) << 8) &* 0x0000_0100_0000_01B3
      }
      state.steps += 1
      return state.jobs.remove(at: index)
    }
    guard let job else { return false }
    job.runSynchronously(on: asUnownedTaskExecutor())
    return true
  }

  /// Runs `body` to its end on this thread, and moves `clock` to the next sleeper whenever nothing is ready. False: it is
  /// stuck, for it waits and nobody sleeps; or a job came from another thread.
  public func run(_ clock: ManualClock, _ body: @escaping @Sendable () async -> Void) -> Bool {
    let hasEnded = Mutex(false)
    Task(executorPreference: self) {
      await body()
      hasEnded.withLock { $0 = true }
    }
    while !hasEnded.withLock({ $0 }) {
      guard step() || clock.advanceToNext() else { return false }
    }
    return strays == 0
  }

  /// Jobs that came from another thread: something of the code escapes, and runs do not repeat.
  public var strays: Int { state.withLock { $0.strays } }
  /// Jobs run so far.
  public var steps: Int { state.withLock { $0.steps } }
  /// How often there was more than one job to choose from.
  public var choices: Int { state.withLock { $0.choices } }
  /// A hash of every choice: two runs with the same one took the same schedule.
  public var fingerprint: UInt64 { state.withLock { $0.fingerprint } }
}

import Pipeline
import Synchronization

/// An operation on its way to a store's thread and back.
private protocol StoreJob: Sendable {
  /// On the thread, within a transaction; may be called again after a rollback.
  func run(_ store: BrokerStore)
  /// Sends the caller on its way: with what `run` came to, or with `failure`.
  func finish(_ failure: BrokerError?)
}

private final class Job<R: Sendable>: StoreJob, @unchecked Sendable {
  // Safe to share: `result` is touched by the store's thread only.
  private let body: @Sendable (BrokerStore) throws(BrokerError) -> R
  private let continuation: CheckedContinuation<Result<R, BrokerError>, Never>
  private var result: Result<R, BrokerError> = .failure(.closed)

  init(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R,
    _ continuation: CheckedContinuation<Result<R, BrokerError>, Never>
  ) {
    self.body = body
    self.continuation = continuation
  }

  func run(_ store: BrokerStore) {
    do { result = .success(try body(store)) } catch { result = .failure(error) }
  }

  func finish(_ failure: BrokerError?) { continuation.resume(returning: failure.map { .failure($0) } ?? result) }
}

/// A thread that owns a connection.
///
/// The writing one takes all operations that wait into one transaction: the hops of a process share its `fsync`. Their
/// callers go on after the commit. One that is refused has changed nothing, and the others commit without it. When
/// SQLite itself fails, everything is rolled back, and each is tried again alone, so that damage in one partition does
/// not stop the others.
final class StoreThread: ContentSource {
  private struct State {
    var jobs: [any StoreJob] = []
    var isClosing = false
    var hasEnded = false
    var enders: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Monitor(State())
  /// How many transactions have become durable.
  let commits = Atomic<Int>(0)
  private let isWriting: Bool
  private let wakes: WakeTable
  private let folder: DataFolder
  /// The most operations and bytes of one transaction.
  private static let maximumJobs = 4096
  private static let maximumBytes = 32 << 20
  /// How often the writing thread looks after things when nobody asks for anything.
  private static let idleNanoseconds: Int64 = 3_000_000_000

  init(isWriting: Bool, wakes: WakeTable, folder: DataFolder) {
    self.isWriting = isWriting
    self.wakes = wakes
    self.folder = folder
  }

  /// Starts the thread; returns when the store is open.
  func start(
    _ open: @escaping @Sendable (any ContentSource) throws(BrokerError) -> BrokerStore
  ) async throws(BrokerError) {
    let contents: any ContentSource = self
    try await start(contents, open)
  }

  /// As above; content that batches load later comes from `contents`.
  func start(
    _ contents: any ContentSource, _ open: @escaping @Sendable (any ContentSource) throws(BrokerError) -> BrokerStore
  ) async throws(BrokerError) {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<Void, BrokerError>, Never>) in
      startThread {
        let failure = self.live(contents, open) { continuation.resume(returning: .success(())) }
        // The connection is closed by now, whatever else happens.
        self.end()
        if let failure { continuation.resume(returning: .failure(failure)) }
      }
    }
    try result.get()
  }

  /// Runs `body` on the thread.
  func perform<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<R, BrokerError>, Never>) in
      var isLate = false
      state.signal { state in
        isLate = state.isClosing || state.hasEnded
        if !isLate { state.jobs.append(Job(body, continuation)) }
      }
      if isLate { continuation.resume(returning: .failure(.closed)) }
    }
    return try result.get()
  }

  func load(content: Int64, of position: RecordPosition) async throws(BrokerError) -> Bytes {
    try await perform { store throws(BrokerError) in
      try store.reading { store throws(BrokerError) in try store.content(content, of: position) { Bytes($0) } }
    }
  }

  /// Ends the thread after everything that was asked for is done.
  func stop() { state.signal { $0.isClosing = true } }

  /// Returns when the thread has closed its connection.
  func ended() async {
    await withCheckedContinuation { continuation in
      var isOver = false
      state.signal { state in
        isOver = state.hasEnded
        if !isOver { state.enders.append(continuation) }
      }
      if isOver { continuation.resume() }
    }
  }

  // MARK: The thread

  private func live(
    _ contents: any ContentSource, _ open: (any ContentSource) throws(BrokerError) -> BrokerStore,
    _ opened: () -> Void
  ) -> BrokerError? {
    let store: BrokerStore
    do throws(BrokerError) { store = try open(contents) } catch { return error }
    opened()
    work(store)
    return nil
  }

  private func end() {
    let (jobs, enders) = state.withLock { state in
      state.hasEnded = true
      defer {
        state.jobs = []
        state.enders = []
      }
      return (state.jobs, state.enders)
    }
    for job in jobs { job.finish(.closed) }
    for ender in enders { ender.resume() }
  }

  private func work(_ store: BrokerStore) {
    while true {
      let idleAt = monotonicNanoseconds() + Self.idleNanoseconds
      let (jobs, isOver) = state.wait { state -> Monitor<State>.Waiting<([any StoreJob], Bool)> in
        if !state.jobs.isEmpty {
          let jobs = Array(state.jobs.prefix(Self.maximumJobs))
          state.jobs.removeFirst(jobs.count)
          return .result((jobs, false))
        }
        if state.isClosing { return .result(([], true)) }
        guard isWriting else { return .signal }
        return monotonicNanoseconds() >= idleAt ? .result(([], false)) : .until(idleAt)
      }
      if isOver { return }
      if isWriting { write(jobs[...], store) } else { read(jobs, store) }
    }
  }

  private func read(_ jobs: [any StoreJob], _ store: BrokerStore) {
    for job in jobs {
      job.run(store)
      job.finish(nil)
    }
  }

  private func write(_ jobs: ArraySlice<any StoreJob>, _ store: BrokerStore) {
    if jobs.isEmpty { folder.keepBallast() }
    var rest = jobs
    repeat {
      var done = 0
      do {
        done = try transaction(rest, store)
        for job in rest.prefix(done) { job.finish(nil) }
      } catch {
        done = rest.count
        recover(rest, from: error, store)
      }
      rest = rest.dropFirst(done)
    } while !rest.isEmpty
  }

  /// Commits as many jobs as fit; returns how many.
  private func transaction(_ jobs: ArraySlice<any StoreJob>, _ store: BrokerStore) throws(Failure) -> Int {
    do { try store.begin() } catch {
      store.rollback()
      throw Failure(error: error, isEverybodys: true)
    }
    do throws(BrokerError) {
      var done = 0
      for job in jobs {
        job.run(store)
        done += 1
        if let failure = store.connection.failure { throw failure }
        if store.appendedBytes > Self.maximumBytes { break }
      }
      try store.maintain(wakes.hearts)
      try store.commit()
      commits.wrappingAdd(1, ordering: .relaxed)
      let touched = store.touched
      if !touched.isEmpty {
        wakes.wake(touched)
        folder.ring()
      }
      return done
    } catch {
      store.rollback()
      throw Failure(error: error, isEverybodys: error.kind == .unknownResult || error.kind == .unavailable)
    }
  }

  private struct Failure: Error {
    let error: BrokerError
    /// It would meet each job alone as well, or trying again is not safe.
    let isEverybodys: Bool
  }

  private func recover(_ jobs: ArraySlice<any StoreJob>, from failure: Failure, _ store: BrokerStore) {
    let isRelieved = failure.error.kind == .storageFull && folder.dropBallast()
    if isRelieved { store.connection.checkpoint(truncating: true) }
    if jobs.count > 1, !failure.isEverybodys {
      for index in jobs.indices { write(jobs[index...index], store) }
    } else if isRelieved, !jobs.isEmpty {
      write(jobs, store)
    } else {
      for job in jobs { job.finish(failure.error) }
    }
  }
}

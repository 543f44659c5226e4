import Pipeline
import Synchronization

/// Lets operations into a store, one at a time: on a thread of its own, or right where the caller is.
protocol StoreQueue: Sendable {
  /// Who waits for commits.
  var wakes: WakeTable { get }
  /// Whose content it is.
  var identity: StoreIdentity { get }
  /// How many transactions have become durable.
  var commits: Int { get }

  /// A name for one process, or one broker of a process, that no other has.
  func newSession() -> Int64

  /// Looks without changing anything.
  func read<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R

  /// Changes something, and returns once that is durable. `body` may share its transaction with others and may run more
  /// than once: it checks everything before its first change.
  func commit<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R

  /// Does what has to be done now and then, if nobody else does.
  func maintain() async

  /// Ends after everything that was asked for is done.
  func close() async
}

/// Everything at once on the caller: for simulations and tests.
///
/// No threads: with a seeded executor and a manual clock a run repeats exactly.
final class InlineStoreQueue: StoreQueue, ContentSource {
  let wakes = WakeTable()
  let identity = StoreIdentity()
  private let store = Monitor<BrokerStore?>(nil)
  private let sessions = Monitor<Int64>(0)
  private let committed = Atomic<Int>(0)
  private let yield: (@Sendable () async -> Void)?

  /// A store in memory. `yield` is awaited before each operation.
  init(
    settings: StoreSettings, clock: any PipelineClock, yield: (@Sendable () async -> Void)?
  ) throws(BrokerError) {
    self.yield = yield
    let connection = try Connection(path: ":memory:", isWritable: true, busyMilliseconds: 0, cacheKiB: 4096)
    let opened = try BrokerStore(
      connection: connection, settings: settings, clock: clock, identity: identity, contents: Weak(self),
      isWritable: true)
    store.withLock { $0 = opened }
  }

  var commits: Int { committed.load(ordering: .relaxed) }

  func newSession() -> Int64 {
    sessions.withLock { last in
      last += 1
      return last
    }
  }

  /// The store must not keep its queue alive.
  private struct Weak: ContentSource, @unchecked Sendable {
    // Safe to share: a weak reference that is never changed.
    weak var queue: InlineStoreQueue?
    init(_ queue: InlineStoreQueue) { self.queue = queue }
    func load(content: Int64, of position: RecordPosition) async throws(BrokerError) -> Bytes {
      guard let queue else { throw .closed }
      return try await queue.load(content: content, of: position)
    }
  }

  func read<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    await yield?()
    return try store.withLock { store -> Result<R, BrokerError> in
      guard let store else { return .failure(.closed) }
      do throws(BrokerError) { return .success(try store.reading(body)) } catch { return .failure(error) }
    }.get()
  }

  func commit<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    await yield?()
    let (result, touched) = store.withLock { store -> (Result<R, BrokerError>, BrokerStore.Touched) in
      guard let store else { return (.failure(.closed), .init()) }
      do throws(BrokerError) {
        let result = try Self.transaction(store, wakes.hearts, body)
        return (.success(result), store.touched)
      } catch { return (.failure(error), .init()) }
    }
    committed.wrappingAdd(1, ordering: .relaxed)
    wakes.wake(touched)
    return try result.get()
  }

  private static func transaction<R>(
    _ store: BrokerStore, _ hearts: [Heart], _ body: (BrokerStore) throws(BrokerError) -> R
  ) throws(BrokerError) -> R {
    do {
      try store.begin()
      let result = try body(store)
      try store.maintain(hearts)
      try store.commit()
      return result
    } catch {
      store.rollback()
      throw error
    }
  }

  func maintain() async { _ = try? await commit { _ in } }

  func load(content: Int64, of position: RecordPosition) async throws(BrokerError) -> Bytes {
    try await read { store throws(BrokerError) in try store.content(content, of: position) { Bytes($0) } }
  }

  /// Nothing to end: the store goes with the last reference, so that one instance may follow another.
  func close() async {}
}

extension BrokerError {
  /// The broker was closed.
  static var closed: BrokerError { BrokerError(.closed, "the broker is closed") }
}

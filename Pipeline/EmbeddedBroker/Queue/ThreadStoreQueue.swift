import Pipeline
import Synchronization

/// A store in a data folder: one thread writes, one reads, and a third listens for other processes.
final class ThreadStoreQueue: StoreQueue {
  let wakes = WakeTable()
  let identity = StoreIdentity()
  private let folder: DataFolder
  private let writer: StoreThread
  private let reader: StoreThread
  private let bell: Bell?

  /// Opens, and creates if need be, the store in `path`.
  init(path: String, options: EmbeddedBroker.Options, clock: any PipelineClock) async throws(BrokerError) {
    let folder = try DataFolder(path: path, ballast: options.ballast)
    self.folder = folder
    var settings = options.settings
    if settings.reserve > 0, options.freeSpace == nil { settings.freeSpace = { folder.freeSpace() } }
    writer = StoreThread(isWriting: true, wakes: wakes, folder: folder)
    reader = StoreThread(isWriting: false, wakes: wakes, folder: folder)
    let (identity, reader) = (identity, reader)
    let final = settings
    let file = folder.database
    let maximumPages = options.maximumPages
    try await writer.start(reader) { contents throws(BrokerError) in
      try folder.prepareDatabase()
      let connection = try Connection(
        path: file, isWritable: true, busyMilliseconds: options.busyMilliseconds, cacheKiB: options.cacheKiB)
      let store = try BrokerStore(
        connection: connection, settings: final, clock: clock, identity: identity, contents: contents, isWritable: true)
      if let maximumPages { try connection.execute("PRAGMA max_page_count=\(maximumPages)") }
      return store
    }
    do {
      try await reader.start { contents throws(BrokerError) in
        let connection = try Connection(
          path: file, isWritable: false, busyMilliseconds: options.busyMilliseconds, cacheKiB: options.cacheKiB)
        return try BrokerStore(
          connection: connection, settings: final, clock: clock, identity: identity, contents: contents,
          isWritable: false)
      }
    } catch {
      writer.stop()
      await writer.ended()
      throw error
    }
    let wakes = wakes
    bell = Bell(folder: folder) { wakes.wakeAll() }
    folder.keepBallast()
  }

  deinit {
    writer.stop()
    reader.stop()
    bell?.stop()
  }

  // Processes on one folder do not know each other: 63 random bits keep them apart.
  func newSession() -> Int64 { Int64(SystemRandom().next() >> 1) | 1 }

  func read<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R {
    try await reader.perform { store throws(BrokerError) in try store.reading(body) }
  }

  func commit<R: Sendable>(
    _ body: @escaping @Sendable (BrokerStore) throws(BrokerError) -> R
  ) async throws(BrokerError) -> R { try await writer.perform(body) }

  var commits: Int { writer.commits.load(ordering: .relaxed) }

  /// The writing thread does it by itself.
  func maintain() async {}

  func close() async {
    bell?.stop()
    reader.stop()
    await reader.ended()
    writer.stop()
    await writer.ended()
    folder.removeBell()
  }
}

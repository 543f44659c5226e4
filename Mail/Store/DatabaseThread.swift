import Glibc
import Pipeline
import SQLite

/// One connection, and the thread that owns it: work is queued, and done there one after another.
///
/// A writer takes everything that waits as one transaction (group commit): under load many callers share one sync. If a
/// piece of work fails, all is undone and each is done again in a transaction of its own: one that fails takes nothing of
/// the others along (but for what ends a transaction by itself, such as a full disk), and work must not mind being done
/// again. Callers go on only after the commit. In inline mode there is no thread: work is done, under a lock, by whoever
/// asks for it.
final class DatabaseThread: Sendable {
  private struct State {
    var queue: [Job] = []
    var isClosed = false
    var isRunning = false
    /// Used by the one thread or, inline, under the lock.
    let connection: Connection
  }
  private let state: Monitor<State>
  private let isInline: Bool

  /// The most work that waits; beyond it callers are refused.
  static let maximumQueue = 10_000
  /// The most work that shares a commit.
  static let maximumGroup = 256

  /// - Parameter open: opens the connection, when it is first needed and again after that failed.
  init(isWriter: Bool, isInline: Bool, open: @escaping @Sendable () throws -> Database) {
    self.isInline = isInline
    state = Monitor(State(connection: Connection(isWriter: isWriter, open: open)))
  }

  /// Two threads for the database `file` of a data folder: one that writes, one that only reads.
  ///
  /// - Parameter prepare: makes the tables that are missing, whenever a connection is opened.
  static func pair(
    folder: String, file: String, isInline: Bool, prepare: @escaping @Sendable (Database) throws -> Void
  ) -> (writer: DatabaseThread, reader: DatabaseThread) {
    func thread(isWriter: Bool) -> DatabaseThread {
      DatabaseThread(isWriter: isWriter, isInline: isInline) {
        mkdir(folder, 0o700)
        let database = try Database(path: "\(folder)/\(file)", Database.Configuration())
        try prepare(database)
        if !isWriter { try database.execute("PRAGMA query_only=ON") }
        return database
      }
    }
    return (thread(isWriter: true), thread(isWriter: false))
  }

  /// Does `body` on the connection, and returns once what it wrote is durable.
  func run<R: Sendable>(_ body: @escaping @Sendable (Database) throws -> R) async throws(MailStoreError) -> R {
    do {
      return try await withCheckedThrowingContinuation { continuation in
        enqueue(
          Job { database in
            let result = Result { try body(database) }.mapError { MailStoreError($0) }
            var succeeded = false
            if case .success = result { succeeded = true }
            return Job.Done(succeeded: succeeded) { failure in
              if let failure { continuation.resume(throwing: failure) } else { continuation.resume(with: result) }
            }
          } fail: {
            continuation.resume(throwing: $0)
          })
      }
    } catch { throw MailStoreError(error) }
  }

  /// Refuses new work, lets what waits be done, closes the connection, and returns then.
  func close() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      var wasClosed = false
      var connection: Connection?
      state.broadcast { state in
        wasClosed = state.isClosed
        state.isClosed = true
        guard state.isRunning, !wasClosed else {
          connection = state.connection
          return
        }
        state.queue.append(Job.last { continuation.resume() })
      }
      if let connection {
        if !wasClosed { connection.close() }
        continuation.resume()
      }
    }
  }

  /// Refuses new work and ends the thread once it is idle, without waiting for it.
  func abandon() { state.broadcast { $0.isClosed = true } }

  private func enqueue(_ job: Job) {
    var end: (() -> Void)?
    var mustStart = false
    state.signal { state in
      if state.isClosed {
        end = { job.fail(MailStoreError(.closed, "mail store: closed")) }
      } else if state.queue.count >= Self.maximumQueue {
        end = { job.fail(MailStoreError(.busy, "mail store: \(Self.maximumQueue) requests wait for the database")) }
      } else if isInline {
        end = state.connection.work([job]).first
      } else {
        state.queue.append(job)
        mustStart = !state.isRunning
        state.isRunning = true
      }
    }
    end?()
    if mustStart { startThread { self.loop() } }
  }

  private func loop() {
    while true {
      let next = state.wait { state -> Monitor<State>.Waiting<(jobs: [Job], connection: Connection, isLast: Bool)> in
        guard !state.queue.isEmpty || state.isClosed else { return .signal }
        let jobs = Array(state.queue.prefix(Self.maximumGroup))
        state.queue.removeFirst(jobs.count)
        return .result((jobs, state.connection, state.isClosed && state.queue.isEmpty))
      }
      let ends = next.connection.work(next.jobs)
      if next.isLast { next.connection.close() }
      for end in ends { end() }
      if next.isLast { return }
    }
  }

  // MARK: Parts

  /// A piece of work. What ends the wait of its caller is kept apart from the work: it comes after the commit.
  private struct Job: Sendable {
    struct Done {
      let succeeded: Bool
      let end: (MailStoreError?) -> Void
    }
    let work: @Sendable (Database) -> Done
    let fail: @Sendable (MailStoreError) -> Void

    /// The one after which the thread ends.
    static func last(_ end: @escaping @Sendable () -> Void) -> Job {
      Job { _ in
        Done(succeeded: true) { _ in end() }
      } fail: { _ in
        end()
      }
    }

    init(_ work: @escaping @Sendable (Database) -> Done, fail: @escaping @Sendable (MailStoreError) -> Void) {
      self.work = work
      self.fail = fail
    }
  }

  /// The database, opened when it is first needed and again after it could not be.
  private final class Connection {
    private var database: Database?
    private let isWriter: Bool
    private let open: @Sendable () throws -> Database

    init(isWriter: Bool, open: @escaping @Sendable () throws -> Database) {
      self.isWriter = isWriter
      self.open = open
    }

    func close() { database = nil }

    /// Does all jobs, and returns what ends the wait of each.
    func work(_ jobs: [Job]) -> [() -> Void] {
      guard !jobs.isEmpty else { return [] }
      do {
        let database = try self.database ?? open()
        self.database = database
        return try isWriter ? commit(jobs, database) : read(jobs, database)
      } catch {
        let error = MailStoreError(error)
        return jobs.map { job in { job.fail(error) } }
      }
    }

    /// All jobs on one snapshot: it is of after they were asked for, and taken, with its locks, once for all.
    private func read(_ jobs: [Job], _ database: Database) throws -> [() -> Void] {
      try database.beginReading()
      defer { database.rollback() }  // nothing was written, and this cannot be left open by an error
      let done = jobs.map { $0.work(database) }
      return done.map { done in { done.end(nil) } }
    }

    /// All jobs in one transaction or, if one fails, each in its own. (A savepoint for each would have SQLite keep every
    /// page as it was, and FTS5 write out its words, job by job.)
    private func commit(_ jobs: [Job], _ database: Database) throws -> [() -> Void] {
      try database.begin()
      if let ends = commitTogether(jobs, database) { return ends }
      var ends: [() -> Void] = []
      for (index, job) in jobs.enumerated() {
        do { try database.begin() } catch {
          // Somebody has the lock, and was waited for: not once more for each.
          let error = MailStoreError(error)
          return ends + jobs[index...].map { job in { job.fail(error) } }
        }
        ends += commitTogether([job], database) ?? []  // of one alone there is always an end
      }
      return ends
    }

    /// Ends the transaction that has begun. Nil: one of several failed, and nothing was done.
    private func commitTogether(_ jobs: [Job], _ database: Database) -> [() -> Void]? {
      var done: [Job.Done] = []
      do {
        for job in jobs {
          let result = job.work(database)
          guard database.isInTransaction else {
            done.append(result)
            // SQLite itself rolls everything back after some errors, a full disk among them.
            throw MailStoreError(.full, "mail store: the transaction was rolled back; is the disk full?")
          }
          if !result.succeeded {
            database.rollback()
            return jobs.count > 1 ? nil : [{ result.end(nil) }]
          }
          done.append(result)
        }
        try database.commit()
        return done.map { done in { done.end(nil) } }
      } catch {
        database.rollback()
        let error = MailStoreError(error)
        // A job that was done owns its caller's continuation through `end`, any other through `fail`.
        return done.map { done in { done.end(error) } } + jobs.dropFirst(done.count).map { job in { job.fail(error) } }
      }
    }
  }
}

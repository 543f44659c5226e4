import Glibc
import Linux
import Synchronization

/// What waits to be run on a loop's thread: jobs of the Swift runtime and plain calls.
///
/// The loop's own thread appends without a lock; others go through a locked queue and an eventfd, raised once until
/// the loop has looked.
final class JobQueue: @unchecked Sendable {
  // Safe to share: `local`, `spare` and `isStopping` are touched by the loop's thread only, `remote` behind its mutex.
  typealias Call = @Sendable () -> Void
  private struct Remote {
    var jobs: [UnownedJob] = []
    var calls: [Call] = []
    var isRaised = false
    var isStopping = false
  }

  let wakeUp: WakeUp
  private var local: [UnownedJob] = []
  private var spare: [UnownedJob] = []
  private var remote = Remote()
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let thread = Atomic<UInt>(0)
  /// Whether the loop was asked to stop, as of the last `takeRemote`.
  private(set) var isStopping = false

  init() throws(Errno) {
    wakeUp = try WakeUp()
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    wakeUp.close()
  }

  /// Whether the caller is on the loop's thread.
  var isOnThread: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

  /// The calling thread is the loop's from now on.
  func adoptThread() {
    thread.store(UInt(pthread_self()), ordering: .relaxed)
  }

  /// The loop's thread ends: a later one may get its number.
  func leaveThread() {
    thread.store(0, ordering: .relaxed)
  }

  func push(_ job: UnownedJob) {
    if isOnThread {
      local.append(job)
    } else {
      change { $0.jobs.append(job) }
    }
  }

  func push(_ call: @escaping Call) {
    change { $0.calls.append(call) }
  }

  func stop() {
    change { $0.isStopping = true }
  }

  var hasLocalJobs: Bool { !local.isEmpty }

  /// Takes what came from other threads; runs the calls. Whether there were any, which may have made others.
  func takeRemote() -> Bool {
    pthread_mutex_lock(mutex)
    local.append(contentsOf: remote.jobs)
    remote.jobs.removeAll(keepingCapacity: true)
    let calls = remote.calls
    remote.calls = []
    remote.isRaised = false
    isStopping = remote.isStopping
    pthread_mutex_unlock(mutex)
    for call in calls { call() }
    return !calls.isEmpty
  }

  /// Runs the jobs that are there now; those that they add wait for the next turn, so that none starves the sockets.
  func runJobs(_ body: (UnownedJob) -> Void) {
    swap(&local, &spare)
    for job in spare { body(job) }
    spare.removeAll(keepingCapacity: true)
  }

  private func change(_ body: (inout Remote) -> Void) {
    pthread_mutex_lock(mutex)
    body(&remote)
    let wasRaised = remote.isRaised
    remote.isRaised = true
    pthread_mutex_unlock(mutex)
    if !wasRaised { wakeUp.raise() }
  }
}

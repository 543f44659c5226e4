import Glibc
import Linux

/// A child of the supervisor: this same program, with a pipe to say how it is doing.
struct ChildProcess {
  /// What it is: `gateways`, `worker`, `worker:FLOW.STAGE`, `alone`.
  let name: String
  let pid: pid_t
  /// Lines that it writes on its descriptor 3.
  let report: Int32
  let startedAt: Int64
  var isReady = false
  var isStopping = false
  /// Why the supervisor killed it: messages that ran past their deadline.
  var overdue: [InHandFile.Entry]?
  private var partialLine: [UInt8] = []

  /// Starts `mailflow child NAME --data PATH` with more `arguments`.
  init(_ name: String, data: String, _ arguments: [String]) throws(ServiceError) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw .system("make a pipe for", name) }
    _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if ends[1] != 3 {
      posix_spawn_file_actions_adddup2(&actions, ends[1], 3)
      posix_spawn_file_actions_addclose(&actions, ends[1])
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // The child blocks what it wants to; the supervisor's blocked signals are not for it.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    // A group of its own: Ctrl-C on the terminal reaches the supervisor, which drains its children in order.
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
    var words = (["mailflow", "child", name, "--data", data] + arguments).map { strdup($0) }
    words.append(nil)
    defer { words.forEach { free($0) } }
    var child = pid_t()
    let code = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, words, environ)
    close(ends[1])
    guard code == 0 else {
      close(ends[0])
      throw .system("start", name, code: code)
    }
    self.name = name
    pid = child
    report = ends[0]
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    startedAt = Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
  }

  /// The whole lines that have come since the last call.
  mutating func lines() -> [String] {
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(report, &chunk, chunk.count)
      guard count > 0 else { break }
      partialLine.append(contentsOf: chunk[0..<count])
      if partialLine.count > 1 << 20 { partialLine = [] }
    }
    var lines: [String] = []
    while let end = partialLine.firstIndex(of: 10) {
      lines.append(String(decoding: partialLine[..<end], as: UTF8.self))
      partialLine.removeSubrange(...end)
    }
    return lines
  }

  func signal(_ number: Int32) { kill(pid, number) }

  /// How a process ended.
  enum Ending: Equatable {
    case exit(Int32)
    case signal(Int32)

    /// By its own doing, as far as one can tell: whoever wants to end a process sends one of the others.
    var isCrash: Bool {
      guard case .signal(let signal) = self else { return false }
      return signal != SIGKILL && signal != SIGTERM
    }

    init(_ status: Int32) {
      self = status & 0x7F == 0 ? .exit(status >> 8 & 0xFF) : .signal(status & 0x7F)
    }
  }
}

/// Ties this child to its supervisor: it ends when the supervisor does. Ends at once if that has happened already, before
/// the kernel could be told.
func tieToSupervisor() {
  try? dieWithParent()
  var report = pollfd(fd: 3, events: Int16(POLLOUT), revents: 0)
  poll(&report, 1, 0)
  if report.revents & Int16(POLLNVAL) != 0 {
    Console.error("mailflow: `child` is for `up` and `run`, which start it with a pipe to report to")
    exit(ExitCode.usage.rawValue)
  }
  if report.revents & Int16(POLLERR) != 0 { exit(ExitCode.temporary.rawValue) }  // nobody reads there any more
}

/// Writes a line to the supervisor, from within a child. Lost if there is no supervisor.
func reportToSupervisor(_ line: String) {
  let bytes = Array((line.split(separator: "\n").joined(separator: " ") + "\n").utf8)
  bytes.withUnsafeBytes { _ = write(3, $0.baseAddress, $0.count) }
}

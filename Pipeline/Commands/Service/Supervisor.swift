import Glibc
import Linux
import Pipeline

/// Starts the processes of a deployment on this machine, watches them, and brings back what dies.
///
/// One thread and no async code: whatever a child does, the supervisor goes on. It is the watchdog of the workers (a
/// message past its deadline and the grace costs the worker its life), and the judge of their deaths: what was in hand
/// when a worker ended itself becomes suspect; a SIGKILL from outside is held against nobody.
struct Supervisor {
  let folder: DataFolder
  let names: [String]
  /// For each of them, behind its name and folder.
  let arguments: [String]
  let log: Log
  /// Told the addresses of the gateways once everything accepts.
  let ready: ([Deployment.ListeningAddress]) -> Void

  /// How long a stage may ignore that its time is over.
  static let grace = Duration.seconds(2)
  /// The same for suspects, of which others wait behind.
  static let graceAlone = Duration.milliseconds(500)
  /// How long a drain may take before what is left is killed: it is delivered again.
  static let drainDeadline: Int64 = 30_000

  private var children: [String: ChildProcess] = [:]
  private var restartAt: [String: Int64] = [:]
  private var backOff: [String: Int64] = [:]
  private var listen: [Deployment.ListeningAddress] = []
  private var states: [String: String] = [:]
  private var isReady = false
  private var drainingSince: Int64?
  private var suspects: SuspectList
  private var failure: ExitCode?

  init(
    folder: DataFolder, names: [String], arguments: [String], log: Log,
    ready: @escaping ([Deployment.ListeningAddress]) -> Void
  ) {
    self.folder = folder
    self.names = names
    self.arguments = arguments
    self.log = log
    self.ready = ready
    suspects = SuspectList(DataFolder.read(folder.suspects) ?? "")
    suspects.forgetTheDead()
  }

  private static let signals = [SIGTERM, SIGINT, SIGCHLD, SIGHUP]

  /// Blocks what `run` reads: in this thread, and in all that it starts.
  static func blockItsSignals() { blockSignals(signals) }

  /// Runs until a signal says to stop and everything has drained, or a child cannot even start.
  mutating func run() throws(ServiceError) -> ExitCode {
    let signals: SignalQueue
    do { signals = try SignalQueue(Self.signals) } catch {
      throw ServiceError(.software, "no signals: \(error)")
    }
    defer { signals.close() }
    unlink(folder.notBeforeAccept)
    for name in names { try start(name) }
    // Suspects may have been left by the run before: the child that tries them ends by itself when there are none.
    if names.contains(where: { $0.hasPrefix("worker") }) { try start("alone") }
    while !(drainingSince != nil && children.isEmpty) {
      wait(signals)
      while let signal = signals.next() { if signal != SIGCHLD { stop() } }
      for name in children.keys.sorted() { listen(to: name) }
      reap()
      if let failure, children.isEmpty { return failure }
      try restartWhatIsDue()
      watch()
      drainNext()
    }
    return failure ?? .ok
  }

  // MARK: Life of a child

  private mutating func start(_ name: String) throws(ServiceError) {
    restartAt[name] = nil
    unlink(folder.inHand(name))
    children[name] = try ChildProcess(name, data: folder.path, arguments)
  }

  private func wait(_ signals: SignalQueue) {
    var polled = [pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)]
    for child in children.values { polled.append(pollfd(fd: child.report, events: Int16(POLLIN), revents: 0)) }
    poll(&polled, nfds_t(polled.count), restartAt.isEmpty ? 250 : 20)
  }

  private mutating func listen(to name: String) {
    for line in children[name]?.lines() ?? [] {
      let words = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      switch words.first {
      case "listen" where words.count == 4:
        listen.removeAll { $0.gateway == words[1] && $0.option == words[2] }
        listen.append(Deployment.ListeningAddress(gateway: words[1], option: words[2], address: words[3]))
      case "ready":
        children[name]?.isReady = true
        backOff[name] = nil
      case "state" where words.count == 5:
        states["\(words[1])\t\(words[2])"] = "\(words[3])\t\(words[4])"
        writeStatus()
      default: break
      }
    }
    if !isReady, names.allSatisfy({ children[$0]?.isReady == true }) {
      isReady = true
      ready(listen)
    }
  }

  private func writeStatus() {
    let text = states.sorted { $0.key < $1.key }.map { "\($0.key)\t\($0.value)\n" }.joined()
    try? DataFolder.write(text, to: folder.status)
  }

  private mutating func reap() {
    var status: Int32 = 0
    while true {
      let pid = waitpid(-1, &status, WNOHANG)
      guard pid > 0 else { return }
      guard let name = children.first(where: { $0.value.pid == pid })?.key else { continue }
      listen(to: name)
      if let child = children.removeValue(forKey: name) {
        close(child.report)
        ended(child, ChildProcess.Ending(status))
      }
    }
  }

  private mutating func ended(_ child: ChildProcess, _ ending: ChildProcess.Ending) {
    if drainingSince != nil {
      if ending.isCrash {
        log.write(
          .error, "a process crashed while it stopped", ("process", child.name), ("ending", "\(ending)"))
      }
      return
    }
    if child.name == "alone", ending == .exit(0) { return }
    if !isReady, case .exit(let code) = ending, code != 0, child.name != "alone" {
      // It has said why on standard error. What cannot start once will not start by trying again.
      failure = ExitCode(rawValue: code) ?? .software
      stop()
      return
    }
    judge(child, ending)
    log.write(.warning, "a process ended and is started again", ("process", child.name), ("ending", "\(ending)"))
    if child.name.hasPrefix("worker") {
      for key in states.keys where child.name == "worker" || "worker:\(key.replacing("\t", with: "."))" == child.name {
        states[key] = "restarting\tits worker ended: \(ending)"
      }
      writeStatus()
    }
    let livedLong = now - child.startedAt > 10_000
    let delay = livedLong ? 0 : backOff[child.name] ?? 0
    backOff[child.name] = livedLong ? 0 : min(5000, max(100, delay * 2))
    restartAt[child.name] = now + delay
  }

  /// Who is to blame for the end of a worker.
  private mutating func judge(_ child: ChildProcess, _ ending: ChildProcess.Ending) {
    if child.name == "gateways" { return judgeGateways(child, ending) }
    var blamed: [InHandFile.Entry] = []
    if let overdue = child.overdue {
      blamed = overdue
    } else if ending.isCrash {
      blamed = InHandFile.read(folder.inHand(child.name))
    }
    guard !blamed.isEmpty else { return }
    if child.name == "alone" {
      suspects.strike(blamed, isCrash: child.overdue == nil)
    } else {
      suspects.add(blamed)
    }
    log.write(
      .error, "messages were in hand when a worker ended itself; each is tried alone now", ("process", child.name),
      ("ending", "\(ending)"), ("messages", blamed.prefix(20).map { "\($0.id)" }.joined(separator: " ")))
    do { try DataFolder.write(suspects.text, to: folder.suspects, isDurable: true) } catch {
      log.write(.error, "cannot note suspects", ("error", error.description))
    }
    if children["alone"] == nil, child.name != "alone" { restartAt["alone"] = now }
  }

  /// Nothing that the gateways have in hand was accepted: its clients try again. So that they do not end the gateways
  /// again and again, the stages that had messages in hand are left to the workers.
  private func judgeGateways(_ child: ChildProcess, _ ending: ChildProcess.Ending) {
    guard ending.isCrash else { return }
    let groups = Set(InHandFile.read(folder.inHand(child.name)).map(\.group))
    guard !groups.isEmpty else { return }
    let old = (DataFolder.read(folder.notBeforeAccept) ?? "").split(separator: "\n").map(String.init)
    let text = groups.union(old).sorted().map { $0 + "\n" }.joined()
    do { try DataFolder.write(text, to: folder.notBeforeAccept) } catch {
      log.write(.error, "cannot note a stage that takes the gateways down", ("error", error.description))
    }
  }

  private mutating func restartWhatIsDue() throws(ServiceError) {
    guard drainingSince == nil else { return }
    for (name, time) in restartAt.sorted(by: { $0.key < $1.key }) where time <= now {
      do { try start(name) } catch {
        log.write(.error, "cannot start a process", ("process", name), ("error", error.description))
        restartAt[name] = now + 1000
      }
    }
  }

  // MARK: Watchdog

  private mutating func watch() {
    let now = SystemClock.shared.now
    for name in children.keys.sorted() where name != "gateways" && children[name]?.overdue == nil {
      let grace = name == "alone" ? Self.graceAlone : Self.grace
      let overdue = InHandFile.read(folder.inHand(name)).filter { $0.deadline + grace < now }
      guard !overdue.isEmpty else { continue }
      log.write(
        .error, "a stage does not end when its time is over; its worker is killed", ("process", name),
        ("messages", overdue.prefix(20).map { "\($0.group) \($0.id)" }.joined(separator: ", ")))
      children[name]?.overdue = overdue
      children[name]?.signal(SIGKILL)
    }
  }

  // MARK: Stopping

  private mutating func stop() {
    guard drainingSince == nil else {
      log.write(.warning, "stopping at once; what is in hand is delivered again at the next start")
      for child in children.values { child.signal(SIGKILL) }
      return
    }
    drainingSince = now
    restartAt = [:]
    drainNext()
  }

  /// Gateways first: what they have accepted is durable, and the workers may finish it now or at the next start.
  private mutating func drainNext() {
    guard let since = drainingSince else { return }
    let next = children["gateways"] == nil ? children.keys.sorted() : ["gateways"]
    for name in next where children[name]?.isStopping == false {
      children[name]?.isStopping = true
      children[name]?.signal(SIGTERM)
    }
    if now - since > Self.drainDeadline { for child in children.values { child.signal(SIGKILL) } }
  }

  private var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}

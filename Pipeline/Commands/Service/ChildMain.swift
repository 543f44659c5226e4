import Glibc
import Linux
import Pipeline
import Synchronization

/// What a child of the supervisor does: the gateways, or the stages of a worker.
struct ChildMain {
  let application: Application
  let name: String
  let deployment: Deployment
  let part: DeploymentPart

  /// How long a drain may finish what is in hand; the supervisor's patience ends later.
  private static let drainDeadline = Duration.seconds(20)

  /// Runs until SIGTERM and everything has drained.
  func run() async throws -> ExitCode {
    ignoreBrokenPipes()
    let clock = SystemClock.shared
    let log = ServiceLog.log(process: name)
    let topology = deployment.topology
    let folder = deployment.folder
    let broker = try await topology.whenBrokerAnswers(clock, log, until: { Termination.hasCome }) {
      try await application.openBroker(topology, folder, clock, log)
    }
    let contentStore = try application.openContentStore(topology, folder)
    // What is wrong is said at once. It keeps nobody from starting: mail that needs no content store is not held up.
    Task {
      do { try await contentStore?.probe() } catch {
        log.write(
          .error, "the content store cannot be used: large mail waits",
          ("error", (error as? StageError)?.message ?? "\(error)"))
      }
    }
    let code: ExitCode
    if name == "gateways" {
      let context = GatewayContext(
        topology: topology, part: part, folder: folder, broker: broker, contentStore: contentStore, clock: clock,
        log: log, stages: { try application.stages(topology, folder, contentStore) },
        journal: try InHandFile(creating: folder.inHand(name)))
      code = try await gateways(context)
    } else {
      code = try await worker(broker, contentStore, clock, log)
    }
    await broker.close()
    return code
  }

  // MARK: Gateways

  private func gateways(_ context: GatewayContext) async throws -> ExitCode {
    let services: [any GatewayService]
    do { services = try await application.makeGateways(context) } catch {
      // An address that cannot be listened on is the usual reason; the error names it.
      throw error as? ServiceError ?? ServiceError(.unavailable, "\(error)")
    }
    for service in services {
      do {
        for (option, address) in try await service.start() {
          reportToSupervisor("listen\t\(service.name)\t\(option)\t\(address)")
        }
      } catch {
        throw ServiceError(
          .unavailable, "gateway \(service.name): \(error)",
          hint: "change gateways.\(service.name).listen in the topology, or --set it; port 0 takes a free one")
      }
    }
    reportToSupervisor("ready")
    await Termination.wait()
    await withTaskGroup(of: Void.self) { group in
      for service in services { group.addTask { await service.drain(deadline: .seconds(10)) } }
    }
    return .ok
  }

  // MARK: Workers

  private func worker(
    _ broker: any Broker, _ contentStore: (any ContentStore)?, _ clock: any PipelineClock, _ log: Log
  ) async throws -> ExitCode {
    let isAlone = name == "alone"
    var environment = StageRunner.Environment(
      broker: broker, clock: clock, log: log, contentStore: contentStore,
      instance: "\(try deployment.folder.node()).\(name)")
    environment.stageExecutor = ThreadPool(threads: max(4, 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    environment.journal = try InHandFile(creating: deployment.folder.inHand(name))
    if !isAlone {
      environment.stateChanged = { name, state in
        reportToSupervisor("state\t\(name.flow)\t\(name.stage)\t\(state.word)\t\(state.reason)")
      }
    }
    let suspects = SuspectList(DataFolder.read(deployment.folder.suspects) ?? "")
    let topology = deployment.topology
    let name = name
    let stages = Set(part.stages)
    let share = PipelineService.Part(
      includes: { stage in
        // A stage that is gone is emptied by whoever runs stages at all.
        let settings = topology[flow: stage.flow]?[stage.stage]
        guard settings == nil || stages.contains(stage) else { return false }
        return isAlone || name == (settings?.isolate == true ? "worker:\(stage)" : "worker")
      }, suspects: suspects.suspects, alone: isAlone ? suspects.strikes : nil)
    let service = try await PipelineService(
      topology, stages: try application.stages(topology, deployment.folder, contentStore), part: share,
      dataFolder: deployment.folder.path,
      random: SystemRandom(), environment: environment)
    reportToSupervisor("ready")
    let control = ThreadPool(threads: 1)
    await withTaskGroup(of: Bool.self) { group in
      group.addTask(executorPreference: control) {
        await service.run()
        return true
      }
      group.addTask(executorPreference: control) {
        if isAlone { await self.untilNothingIsSuspect(broker, clock) } else { await Termination.wait() }
        service.drain()
        // What takes longer is given back, and delivered again at the next start.
        if (try? await clock.sleep(for: Self.drainDeadline)) != nil { service.abandon() }
        return false
      }
      while let hasEnded = await group.next(), !hasEnded {}
      group.cancelAll()
    }
    return .ok
  }

  /// The process that tries suspects ends when there has been none for a while.
  private func untilNothingIsSuspect(_ broker: any Broker, _ clock: any PipelineClock) async {
    var quiet = 0
    while quiet < 5, !Termination.hasCome {
      do { try await clock.sleep(for: .seconds(1)) } catch { return }
      let report = try? await LagReport.take(deployment.topology, broker: broker, clock: clock)
      let waiting =
        report?.rows.filter { $0.kind == .suspect && part.stages.contains($0.stage) }.reduce(0) { $0 + $1.records } ?? 1
      quiet = waiting == 0 ? quiet + 1 : 0
    }
  }
}

/// The request to end: SIGTERM or SIGINT, noticed by a thread of its own.
enum Termination {
  private static let came = Mutex(false)
  private static let waiters = Mutex<[Signal]>([])

  static var hasCome: Bool { came.withLock { $0 } }

  /// Blocks the signals in this thread and all that it starts, and begins to listen. Call it before anything else.
  static func listen() {
    blockSignals([SIGTERM, SIGINT])
    startWatching {
      guard let queue = try? SignalQueue([SIGTERM, SIGINT]) else { return }
      while true {
        var polled = pollfd(fd: queue.descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, -1) > 0, queue.next() != nil else { continue }
        came.withLock { $0 = true }
        for signal in waiters.withLock({ $0 }) { signal.raise() }
      }
    }
  }

  /// Returns once the request has come.
  static func wait() async {
    let signal = Signal()
    waiters.withLock { $0.append(signal) }
    while !hasCome, !Task.isCancelled { await signal.wait() }
  }

  private static func startWatching(_ body: @escaping @Sendable () -> Void) {
    final class Box {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body() }
        return nil
      }, box.toOpaque())
  }
}

/// The log of a process: a JSON object a line on standard error.
enum ServiceLog {
  static func log(process: String, minimum: Log.Level = .info) -> Log {
    Log(clock: SystemClock.shared, minimum: minimum) { line in
      let fields = [
        JSONValue.Member("at", .string(line.at.description)), .init("level", .string(line.level.rawValue)),
        .init("process", .string(process)), .init("message", .string(line.message)),
      ]
      Console.error(JSONValue.object(fields + line.fields.map { .init($0.name, .string($0.value)) }).text)
    }
  }
}

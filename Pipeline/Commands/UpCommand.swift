import Glibc
import Pipeline

extension Command {
  /// `up`: everything on this machine, supervised.
  static func up(_ application: Application) -> Command {
    Command(
      "up", "Starts everything on this machine: gateways and stages, supervised.",
      discussion: """
        Prints one line of JSON on standard output when everything accepts, with the address of each gateway. Logs go \
        to standard error. SIGTERM, SIGHUP or Ctrl-C drains: nothing that was accepted is lost, at this or at any \
        other end.
        """,
      examples: [
        ("mailflow up", "Starts what ./topology.yaml describes."),
        ("mailflow up --data /tmp/try --set gateways.smtp.listen=127.0.0.1:0", "Another folder, a free port."),
      ],
      options: Deployment.options + [.flag("json", "Prints nothing but JSON on standard output (as always).")]
    ) { arguments in try await supervise(arguments, application) }
  }

  /// `run`: a part of a deployment.
  static func run(_ application: Application) -> Command {
    Command(
      "run", "Runs some gateways and stages on this machine, supervised.",
      discussion: """
        As `up`, for a part of the topology: mail waits in its topics for the stages that run nowhere. A data folder \
        has one service at a time, so on the embedded broker the other part is run by the next start; machines that \
        share a broker have a data folder each.
        """,
      examples: [
        ("mailflow run --gateways all", "Accepts mail while the stages rest: it waits in the first topic."),
        ("mailflow run --gateways web --stages inbound.store", "Empties one stage's topic, with readers served."),
        ("mailflow run --node scan", "What the topology's `nodes` says of `scan`: on as many machines as you like."),
      ],
      options: DeploymentPart.options + Deployment.options + [
        .flag("json", "Prints nothing but JSON on standard output (as always).")
      ]
    ) { arguments in
      guard arguments.has("stages") || arguments.has("gateways") || arguments.has("node") else {
        throw ServiceError(
          .usage, "run needs --stages, --gateways, both of them, or --node",
          hint: "`\(application.name) up` runs everything")
      }
      return try await supervise(arguments, application)
    }
  }

  private static func supervise(_ arguments: Arguments, _ application: Application) async throws -> ExitCode {
    let deployment = try Deployment(arguments, application, isStarting: true)
    let part = try DeploymentPart(arguments, of: deployment.topology)
    try deployment.folder.prepare()
    try deployment.folder.lock()
    _ = try deployment.folder.node()  // made here: the children start together
    try deployment.publish()
    unlink(deployment.folder.status)
    let log = ServiceLog.log(process: "supervisor")
    try await deployment.topology.whenBrokerAnswers(SystemClock.shared, log) {
      try await prepareBroker(part, of: deployment, application, log)
    }

    var supervisor = Supervisor(
      folder: deployment.folder, names: children(of: deployment.topology, part), arguments: part.options, log: log
    ) { listen in
      try? deployment.publish(listening: listen)
      let addresses = listen.map { JSONValue.Member($0.name, .string($0.address)) }
      Console.out(
        JSONValue.object([
          .init("ready", true), .init("pid", .int(Int(getpid()))), .init("listen", .object(addresses)),
        ]).text)
    }
    return try supervisor.run()
  }

  /// Opens the broker once before the children do: a damaged, newer or unreadable store is one clear error.
  private static func prepareBroker(
    _ part: DeploymentPart, of deployment: Deployment, _ application: Application, _ log: Log
  ) async throws {
    let topology = deployment.topology
    let broker = try await application.openBroker(topology, deployment.folder, SystemClock.shared, log)
    do {
      if topology.broker == .embedded { try await refuseOtherNames(topology, broker) }
      try await takePart(part, of: deployment, application, broker, log)
      try await broker.create(PipelineService.specifications(topology))
    } catch {
      await broker.close()
      throw error
    }
    await broker.close()
  }

  /// Compares the topology with what other nodes run, and the part with where the data folder is.
  private static func takePart(
    _ part: DeploymentPart, of deployment: Deployment, _ application: Application, _ broker: any Broker, _ log: Log
  ) async throws {
    let node = Topology.Node(name: "", gateways: part.gateways.map(\.name), stages: part.stages)
    // Content that is kept in a folder is there for what runs on this machine only.
    let needsFolder =
      deployment.topology.content == .folder
      || !deployment.topology.partsThatNeedTheFolder(of: node, application.vocabulary).isEmpty
    do {
      let topologies = TopologyLog(deployment.topology, broker: broker)
      let epoch = try await topologies.join(as: try deployment.folder.node(), needsFolder: needsFolder)
      log.write(.info, "taking part", ("epoch", "\(epoch)"))
    } catch let refusal as TopologyLog.Refusal {
      throw ServiceError(.config, refusal.message, hint: refusal.hint)
    }
  }

  /// A folder belongs to one topology: under another name its topics would never be looked at again.
  private static func refuseOtherNames(_ topology: Topology, _ broker: any Broker) async throws {
    for topic in try await broker.topics(prefix: "") where !topic.name.hasPrefix("\(topology.name).") {
      let name = topic.name.prefix { $0 != "." }
      throw ServiceError(
        .config, "the data folder holds the topics of `\(name)`, and the topology's name is `\(topology.name)`",
        hint: "write `name: \(name)`, or choose another folder with --data")
    }
  }

  /// The processes of a part: the sockets in one, the stages in another (which also empties stages that are gone), and
  /// one for each stage that is to be alone.
  private static func children(of topology: Topology, _ part: DeploymentPart) -> [String] {
    let isolated = part.stages.filter { topology[flow: $0.flow]?[$0.stage]?.isolate == true }
    return (part.gateways.isEmpty ? [] : ["gateways"]) + (part.stages.isEmpty ? [] : ["worker"])
      + isolated.map { "worker:\($0)" }
  }

  /// `child`: what `up` starts. Not for people.
  static func child(_ application: Application) -> Command {
    Command(
      "child", "A process of a running service.", options: Deployment.options + DeploymentPart.options,
      positionals: [.required("NAME", "Which one.")], isHidden: true
    ) { arguments in
      let deployment = try Deployment(arguments, application)
      return try await ChildMain(
        application: application, name: arguments.word("NAME") ?? "", deployment: deployment,
        part: DeploymentPart(arguments, of: deployment.topology)
      ).run()
    }
  }
}

import Glibc
import Pipeline

extension Command {
  /// `up`: everything on this machine, supervised.
  static func up(_ application: Application) -> Command {
    Command(
      "up", "Starts everything on this machine: gateways and stages, supervised.",
      discussion: """
        Prints one line of JSON on standard output when everything accepts, with the address of each gateway. Logs go \
        to standard error. SIGTERM or Ctrl-C drains: nothing that was accepted is lost, at this or at any other end.
        """,
      examples: [
        ("mailflow up", "Starts what ./topology.yaml describes."),
        ("mailflow up --data /tmp/try --set gateways.smtp.listen=127.0.0.1:0", "Another folder, a free port."),
      ],
      options: Deployment.options + [.flag("json", "Prints nothing but JSON on standard output (as always).")]
    ) { arguments in
      let deployment = try Deployment(arguments, application, isStarting: true)
      try deployment.folder.prepare()
      try deployment.folder.lock()
      try deployment.publish()
      unlink(deployment.folder.status)
      // Opened once before the children do: a damaged, newer or unreadable store is one clear error.
      let broker = try await application.openBroker(deployment.topology, deployment.folder, SystemClock.shared)
      try await broker.create(PipelineService.specifications(deployment.topology))
      await broker.close()

      let isolated = deployment.topology.flows.flatMap { flow in
        flow.stages.filter(\.isolate).map { "worker:\(flow.name).\($0.name)" }
      }
      let hasGateways = !deployment.topology.gateways.isEmpty
      var supervisor = Supervisor(
        folder: deployment.folder, names: (hasGateways ? ["gateways"] : []) + ["worker"] + isolated,
        log: ServiceLog.log(process: "supervisor")
      ) { listen in
        try? deployment.publish(listening: listen)
        let addresses = listen.map { JSONValue.Member($0.gateway, .string($0.address)) }
        Console.out(
          JSONValue.object([
            .init("ready", true), .init("pid", .int(Int(getpid()))), .init("listen", .object(addresses)),
          ]).text)
      }
      return try supervisor.run()
    }
  }

  /// `child`: what `up` starts. Not for people.
  static func child(_ application: Application) -> Command {
    Command(
      "child", "A process of a running service.", options: Deployment.options,
      positionals: [.required("NAME", "Which one.")], isHidden: true
    ) { arguments in
      let deployment = try Deployment(arguments, application)
      return try await ChildMain(
        application: application, name: arguments.word("NAME") ?? "", deployment: deployment
      ).run()
    }
  }
}

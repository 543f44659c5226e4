import Pipeline

extension Command {
  /// `migrate`: to another broker.
  static func migrate(_ application: Application) -> Command {
    Command(
      "migrate", "Moves what waits in a stopped deployment to another broker.",
      discussion: """
        Moves ready, delayed and slow messages, dead letters and timelines, each once: a run that is interrupted is \
        gone on with by the next. Properties of Kafka are taken from the topology's `kafka:`. Topics are \
        deleted where they were once all of it is there, and `up` refuses to start on the old broker. Mailboxes stay \
        where they are.
        """,
      examples: [
        (
          "mailflow migrate --from embedded --to kafka://broker-1:9092,broker-2:9092 --dry-run",
          "Says what would be moved."
        ),
        ("mailflow migrate --from embedded --to kafka://broker-1:9092", "Moves it; then change `broker:` and start."),
      ],
      options: Deployment.options + [
        .value("from", "BROKER", "Where it is: `embedded` or kafka://HOST:PORT,…"),
        .value("to", "BROKER", "Where it shall be: the same."),
        .flag("dry-run", "Changes nothing; says what waits."), .flag("json", "Prints JSON."),
      ]
    ) { arguments in
      guard let from = arguments.value("from"), let to = arguments.value("to"), from != to else {
        throw ServiceError(
          .usage, "migrate needs --from and --to, two different brokers",
          hint: "--from embedded --to kafka://HOST:PORT")
      }
      let deployment = try Deployment(arguments, application, isStarting: true)
      try deployment.folder.prepare()
      try deployment.folder.lock()  // no service runs on it, and none starts meanwhile
      if from == "embedded", !DataFolder.exists(deployment.folder.broker) {
        throw ServiceError(.dataError, "there are no topics in \(deployment.folder.path)", hint: "name it with --data")
      }
      let brokers = (
        from: try await open(from, deployment, application), to: try await open(to, deployment, application)
      )
      for (name, broker) in [(from, brokers.from), (to, brokers.to)] {
        let live = try await TopologyLog(deployment.topology, broker: broker).liveNodes()
        guard live.isEmpty else {
          throw ServiceError(
            .temporary, "\(live.sorted().joined(separator: ", ")) still work on \(name)", hint: "stop them first")
        }
      }
      let migration = Migration(deployment.topology, from: brokers.from, to: brokers.to)
      let isJSON = arguments.has("json")
      let moved: [Migration.Moved]
      if arguments.has("dry-run") {
        moved = try await migration.plan()
      } else {
        moved = try await migration.run(destination: to) { step in
          if !isJSON, Console.isTerminal { Console.error("\(step.topic): \(step.records) of \(step.total)") }
        }
      }
      await brokers.from.close()
      await brokers.to.close()
      report(moved, isJSON, isDry: arguments.has("dry-run"), to)
      return .ok
    }
  }

  private static func open(
    _ address: String, _ deployment: Deployment, _ application: Application
  ) async throws -> any Broker {
    var topology = deployment.topology
    if address == "embedded" {
      topology.broker = .embedded
    } else {
      guard address.hasPrefix("kafka://"), address.utf8.count > 8 else {
        throw ServiceError(.usage, "a broker is `embedded` or kafka://HOST:PORT,…, not `\(address)`")
      }
      var properties: [String: String] = [:]
      if case .kafka(_, let given) = topology.broker { properties = given }
      topology.broker = .kafka(bootstrap: String(address.dropFirst(8)), properties: properties)
    }
    return try await application.openBroker(topology, deployment.folder)
  }

  private static func report(_ moved: [Migration.Moved], _ isJSON: Bool, isDry: Bool, _ destination: String) {
    let sum = moved.reduce(0) { $0 + (isDry ? $1.total : $1.records) }
    guard !isJSON else {
      let topics = moved.map { topic in
        JSONValue.object([
          .init("topic", .string(topic.topic)), .init("waiting", .int(Int(topic.total))),
          .init("moved", .int(Int(topic.records))),
        ])
      }
      Console.out(JSONValue.object([.init("topics", .array(topics)), .init("records", .int(Int(sum)))]).text)
      return
    }
    let rows = moved.map { [$0.topic, "\($0.total)", isDry ? "" : "\($0.records)"] }
    Console.out(Console.table([["TOPIC", "WAITING", isDry ? "" : "MOVED"]] + rows, right: [1, 2]))
    Console.out(
      isDry ? "\(sum) records would be moved" : "\(sum) records moved; write `broker: \(destination)` and start")
  }
}

import Pipeline

extension Command {
  /// `grow`: more partitions.
  static func grow(_ application: Application) -> Command {
    Command(
      "grow", "Gives stages the partitions that the topology says.",
      discussion: """
        Write `partitions:` of `defaults` or of a stage, stop every node, run this, start again. All topics of a stage \
        grow together; nothing that waits is moved or lost, and there is no way back to fewer. New messages of a key may \
        go to another partition than those that wait: where a stage keeps an order, empty it first.
        """,
      examples: [
        ("mailflow grow --dry-run", "Says which topics would grow, and what waits in them."),
        (
          "mailflow grow --set stages.store.partitions=24 --stage store",
          "One stage; the same number has to be in the file before the next start."
        ),
      ],
      options: Deployment.options + [
        .value("stage", "STAGE", "Only this stage: STAGE or FLOW.STAGE."),
        .flag("dry-run", "Changes nothing; says what would be done."),
        .flag("let-overtake", "Also where messages that wait may then be overtaken by later ones of their key."),
        .flag("json", "Prints JSON."),
      ]
    ) { arguments in
      let deployment = try Deployment(arguments, application, isStarting: true)
      let topology = deployment.topology
      let wanted = try arguments.value("stage").map { try stage($0, of: topology) }
      try deployment.folder.prepare()
      if topology.broker == .embedded, !DataFolder.exists(deployment.folder.broker) {
        throw ServiceError(.dataError, "there are no topics in \(deployment.folder.path)", hint: "name it with --data")
      }
      let isDry = arguments.has("dry-run")
      if !isDry { try deployment.folder.lock() }  // none starts meanwhile
      let broker = try await application.openBroker(topology, deployment.folder)
      let growth = Growth(topology, broker: broker, clock: SystemClock.shared)
      let steps = try await growth.plan(wanted)
      if !isDry { try await refuse(steps, topology, broker, letOvertake: arguments.has("let-overtake")) }
      if !isDry { try await growth.run(steps) }
      await broker.close()
      Console.out(arguments.has("json") ? json(steps) : text(steps, isDry: isDry))
      return .ok
    }
  }

  private static func stage(_ word: String, of topology: Topology) throws(ServiceError) -> StageName {
    let found = topology.stageNames.filter { $0.words.contains(word) }
    if found.count == 1 { return found[0] }
    let all = topology.stageNames.map(\.description)
    throw ServiceError(
      .usage, found.isEmpty ? "the topology has no stage `\(word)`" : "stage `\(word)` is in several flows",
      hint: found.isEmpty
        ? Suggestion.nearest(to: word, among: topology.stageNames.flatMap(\.words)).map { "did you mean `\($0)`?" }
          ?? "there are \(all.joined(separator: ", "))"
        : "write \(found.map(\.description).joined(separator: " or "))")
  }

  private static func refuse(
    _ steps: [Growth.Step], _ topology: Topology, _ broker: any Broker, letOvertake: Bool
  ) async throws {
    let live = try await TopologyLog(topology, broker: broker).liveNodes()
    guard live.isEmpty else {
      throw ServiceError(
        .temporary, "\(live.sorted().joined(separator: ", ")) still \(live.count == 1 ? "works" : "work")",
        hint: "members go on with the partitions that they know of: stop every node first, also those that run "
          + "gateways only")
    }
    let ordered = steps.filter(\.mayOvertake)
    guard letOvertake || ordered.isEmpty else {
      let words = ordered.map { "\($0.waiting) in \($0.stage) (order: \($0.order.rawValue))" }
      throw ServiceError(
        .temporary,
        "messages wait where an order is kept: \(words.joined(separator: ", ")); later ones of their key would go to "
          + "other partitions, and may overtake them",
        hint: "run the stages without the gateways until `lag` shows nothing there, or say --let-overtake")
    }
  }

  private static func json(_ steps: [Growth.Step]) -> String {
    let stages = steps.map { step in
      JSONValue.object([
        .init("stage", .string(step.stage.stage)), .init("flow", .string(step.stage.flow)),
        .init("partitions", .int(step.partitions)), .init("order", .string(step.order.rawValue)),
        .init("waiting", .int(Int(step.waiting))),
        .init(
          "topics",
          .array(
            step.topics.map {
              .object([.init("topic", .string($0.name)), .init("partitions", .int($0.partitions))])
            })),
      ])
    }
    return JSONValue.object([.init("stages", .array(stages))]).text
  }

  private static func text(_ steps: [Growth.Step], isDry: Bool) -> String {
    guard !steps.isEmpty else { return "every stage has the partitions that the topology says" }
    var rows = [["TOPIC", "PARTITIONS", "THEN"]]
    for step in steps {
      for topic in step.topics { rows.append([topic.name, "\(topic.partitions)", "\(step.partitions)"]) }
    }
    var lines = [Console.table(rows, right: [1, 2])]
    for step in steps where step.waiting > 0 {
      let order = step.order == .none ? "" : ", and may be overtaken by later ones of their key"
      lines.append("\(step.stage): \(step.waiting) waiting messages stay where they are\(order)")
    }
    lines.append(isDry ? "nothing was changed" : "done: start the nodes with this topology")
    return lines.joined(separator: "\n")
  }
}

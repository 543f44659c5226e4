import Pipeline

extension Command {
  /// `check`: whether a topology can be used.
  static func check(_ application: Application) -> Command {
    Command(
      "check", "Says whether a topology can be used, and every mistake in it.",
      examples: [
        ("mailflow check", "Checks ./topology.yaml without touching anything."),
        (
          "mailflow check --connect",
          "Also asks whether the broker and what stages need answer, and whether topics are as they should be."
        ),
      ],
      options: Deployment.options + [
        .flag("connect", "Also connects to what the topology names."), .flag("json", "Prints JSON."),
      ]
    ) { arguments in
      let isJSON = arguments.has("json")
      do {
        let deployment = try Deployment(arguments, application, isStarting: true)
        if arguments.has("connect") { try await connect(deployment, application) }
        let stages = deployment.topology.flows.reduce(0) { $0 + $1.stages.count }
        Console.out(
          isJSON
            ? JSONValue.object([.init("ok", true), .init("diagnostics", [])]).text
            : "\(deployment.file): good: \(count(deployment.topology.flows.count, "flow")), \(count(stages, "stage")), "
              + count(deployment.topology.gateways.count, "gateway"))
        return .ok
      } catch let error as TopologyError where isJSON {
        let diagnostics = error.diagnostics.map { diagnostic in
          JSONValue.object([
            .init("file", .string(diagnostic.file)), .init("line", .int(diagnostic.line)),
            .init("column", .int(diagnostic.column)), .init("message", .string(diagnostic.message)),
            .init("hint", .optional(diagnostic.hint)),
          ])
        }
        Console.out(JSONValue.object([.init("ok", false), .init("diagnostics", .array(diagnostics))]).text)
        return .config
      } catch let error as TopologyError {
        Console.error(error.description)
        return .config
      }
    }
  }

  /// `1 flow`, `2 flows`.
  private static func count(_ number: Int, _ word: String) -> String { "\(number) \(word)\(number == 1 ? "" : "s")" }

  private static func connect(_ deployment: Deployment, _ application: Application) async throws {
    try deployment.folder.prepare()
    let clock = SystemClock.shared
    let broker = try await application.openBroker(deployment.topology, deployment.folder)
    let differences = try await broker.inspect(PipelineService.specifications(deployment.topology))
    for difference in differences where !difference.isHarmful {
      Console.error("warning: \(difference)\n  hint: \(difference.remedy)")
    }
    let harmful = differences.filter(\.isHarmful)
    if !harmful.isEmpty {
      throw ServiceError(
        .config, harmful.map(\.description).joined(separator: "\n"),
        hint: harmful.map(\.remedy).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
          .joined(separator: "\n        "))
    }
    let contentStore = try application.openContentStore(deployment.topology, deployment.folder)
    do { try await contentStore?.probe() } catch {
      throw ServiceError(.unavailable, "content store: \((error as? StageError)?.message ?? "\(error)")")
    }
    let stages = try application.stages(deployment.topology, deployment.folder, contentStore)
    for flow in deployment.topology.flows {
      for settings in flow.stages {
        guard let entry = stages[settings.use] else { continue }
        let name = StageName(flow: flow.name, stage: settings.name)
        let setup = StageSetup(
          name: name, dataFolder: deployment.folder.path, clock: clock, random: SystemRandom(),
          contentStore: contentStore)
        do {
          switch try entry.make(settings.options, setup) {
          case .one(let stage): try await stage.probe()
          case .batch(let stage, _): try await stage.probe()
          }
        } catch {
          throw ServiceError(.unavailable, "stage \(name): \(error)")
        }
      }
    }
    await broker.close()
  }

  /// `graph`: a picture of a topology.
  static func graph(_ application: Application) -> Command {
    Command(
      "graph", "Draws how messages flow.",
      examples: [("mailflow graph --format mermaid", "For a page that renders Mermaid.")],
      options: Deployment.options + [.value("format", "FORMAT", "text (the default), mermaid or dot.")]
    ) { arguments in
      let deployment = try Deployment(arguments, application)
      guard let format = TopologyGraph.Format(rawValue: arguments.value("format") ?? "text") else {
        throw ServiceError(.usage, "--format takes text, mermaid or dot")
      }
      Console.out(TopologyGraph.render(deployment.topology, as: format))
      return .ok
    }
  }

  /// `stages`: what can be used.
  static func stages(_ application: Application) -> Command {
    Command(
      "stages", "Lists the stages and gateways that a topology can use, with their options.",
      options: [.flag("json", "Prints JSON."), .flag("schema", "Prints a JSON Schema of the topology, for editors.")]
    ) { arguments in
      let vocabulary = application.vocabulary
      if arguments.has("schema") {
        Console.out(TopologySchema.json(vocabulary).text)
        return .ok
      }
      if arguments.has("json") {
        let stages = vocabulary.stages.entries.map { entry in
          JSONValue.object([
            .init("name", .string(entry.name)), .init("summary", .string(entry.summary)),
            .init("outcomes", .array(entry.outcomes.map { .string($0) })),
            .init(
              "options",
              .array(
                entry.options.options.map { option in
                  .object([.init("name", .string(option.name)), .init("help", .string(option.help))])
                })),
          ])
        }
        Console.out(JSONValue.object([.init("stages", .array(stages))]).text)
        return .ok
      }
      for entry in vocabulary.stages.entries {
        Console.out("\(entry.name)  \(entry.summary)")
        let help = entry.options.help
        if !help.isEmpty { Console.out(help) }
      }
      Console.out("every stage, and `defaults`")
      Console.out(TopologySchema.stageHelp)
      for gateway in vocabulary.gateways {
        Console.out("\(gateway.name) (gateway)  \(gateway.summary)")
        let help = gateway.schema.help
        if !help.isEmpty { Console.out(help) }
      }
      let sections = vocabulary.sections.help
      if !sections.isEmpty { Console.out("the topology itself\n\(sections)") }
      Console.out("content\n\(TopologySchema.contentHelp)")
      return .ok
    }
  }
}

import Pipeline

extension Command {
  /// `trace`: the timeline of a message.
  static func trace(_ application: Application) -> Command {
    Command(
      "trace", "Shows the timeline of one message: accepted, every hop, every retry and why, where it is now.",
      examples: [("mailflow trace 0190b3a1-7a4f-7000-8000-1234567890ab", "By the id that the SMTP reply gave.")],
      options: Deployment.options + [
        .flag("json", "Prints JSON."),
        .flag("all", "Every message on its way, or ended and still kept: a line of JSON each."),
      ],
      positionals: [.optional("ID", "Our id, or a Message-ID with or without angle brackets.")]
    ) { arguments in
      guard arguments.has("all") != (arguments.word("ID") != nil) else {
        throw ServiceError(.usage, "which message?", hint: "name its id or its Message-ID, or --all")
      }
      let session = try await OperatorSession(arguments, application)
      if arguments.has("all") {
        let timelines = try await Timeline.find(nil, matching: { _ in true }, session.topology, broker: session.broker)
        for timeline in timelines { Console.out(TraceText.json(timeline, parts: []).text) }
        await session.broker.close()
        return .ok
      }
      let word = arguments.word("ID") ?? ""
      let timelines: [Timeline]
      if let id = MessageID(word) {
        timelines = try await Timeline.find(id, session.topology, broker: session.broker)
      } else {
        let name = word.hasPrefix("<") && word.hasSuffix(">") ? String(word.dropFirst().dropLast()) : word
        timelines = try await Timeline.find(
          nil, matching: { $0["mailflow-annotation-message-id"] == name }, session.topology, broker: session.broker)
      }
      await session.broker.close()
      guard let first = timelines.first else {
        throw ServiceError(.dataError, "no message \(word) is on its way or in the records of ended ones")
      }
      if arguments.has("json") {
        Console.out(TraceText.json(first, parts: Array(timelines.dropFirst())).text)
        return .ok
      }
      for timeline in timelines {
        Console.out("\(timeline.id)\(timeline.waiting.map { "  now at \($0)" } ?? "")")
        for event in timeline.events { Console.out("  \(TraceText.line(event))") }
      }
      return .ok
    }
  }
}

/// Timelines for people and for scripts.
enum TraceText {
  static func line(_ event: HistoryEvent) -> String {
    var line = "\(event.at)  \(event.kind.rawValue)"
    if !event.stage.isEmpty { line += "  \(event.stage)" }
    if event.attempt > 1 { line += "  try \(event.attempt)" }
    if event.wait >= .milliseconds(1) { line += "  waited \(event.wait.milliseconds) ms" }
    if event.work >= .milliseconds(1) { line += "  worked \(event.work.milliseconds) ms" }
    return event.detail.isEmpty ? line : "\(line)  \(event.detail)"
  }

  static func json(_ timeline: Timeline, parts: [Timeline]) -> JSONValue {
    let events = timeline.events.map { event in
      JSONValue.object([
        .init("at", .string(event.at.description)), .init("stage", .string(event.stage)),
        .init("event", .string(event.kind.rawValue)), .init("attempt", .int(event.attempt)),
        .init("waitMs", .int(Int(event.wait.milliseconds))), .init("workMs", .int(Int(event.work.milliseconds))),
        .init("detail", .string(event.detail)),
      ])
    }
    return .object([
      .init("id", .string(timeline.id.description)), .init("events", .array(events)),
      .init("at", .optional(timeline.waiting?.description)), .init("parts", .array(parts.map { json($0, parts: []) })),
    ])
  }
}

import Glibc
import Pipeline

extension Command {
  /// `dead`: dead letters.
  static func dead(_ application: Application) -> Command {
    Command(
      "dead", "Lists dead letters, sends them on their way again, or throws them away.",
      subcommands: [deadList(application), deadShow(application), deadReplay(application), deadDiscard(application)])
  }

  private static let filters: [Command.Option] = [
    .value("stage", "STAGE", "Only letters that this stage gave up: STAGE or FLOW.STAGE."),
    .value("reason", "REASON", "Only letters with this reason."),
  ]

  private static func filter(_ arguments: Arguments) throws(ServiceError) -> DeadLetters.Filter {
    var filter = DeadLetters.Filter()
    filter.stage = arguments.value("stage")
    filter.reason = arguments.value("reason")
    if let word = arguments.word("ID") {
      guard let id = MessageID(word) else {
        throw ServiceError(.usage, "`\(word)` is no message id", hint: "`mailflow dead list` shows the ids")
      }
      filter.id = id
    }
    return filter
  }

  /// A stage that has no dead-letter topic is a slip of the pen, and not an empty answer.
  private static func check(_ filter: DeadLetters.Filter, _ session: OperatorSession) async throws {
    guard let wanted = filter.stage else { return }
    let names = try await session.broker.topics(prefix: "\(session.topology.name).").compactMap { topic in
      topic.name.hasSuffix(".dead") ? String(topic.name.dropFirst(session.topology.name.count + 1).dropLast(5)) : nil
    }
    let known = names + names.compactMap { $0.split(separator: ".").last.map(String.init) }
    guard !known.contains(wanted) else { return }
    let nearest = Suggestion.nearest(to: wanted, among: known)
    throw ServiceError(
      .usage, "there is no stage `\(wanted)`",
      hint: nearest.map { "did you mean `\($0)`?" } ?? "there are \(names.joined(separator: ", "))")
  }

  private static func deadList(_ application: Application) -> Command {
    Command(
      "list", "Lists dead letters, grouped by stage and reason.",
      options: Deployment.options + filters + [
        .value("limit", "N", "At most so many letters; 1000 by default."), .flag("json", "Prints JSON."),
      ]
    ) { arguments in
      let session = try await OperatorSession(arguments, application)
      let limit = try arguments.int("limit", in: 1...1_000_000) ?? 1000
      try await check(try filter(arguments), session)
      let letters = try await DeadLetters(
        session.topology, broker: session.broker, clock: SystemClock.shared, contentStore: session.contentStore
      ).list(try filter(arguments), limit: limit)
      await session.broker.close()
      var groups: [(stage: String, reason: String, count: Int)] = []
      for letter in letters {
        let stage = letter.stage.description
        if let index = groups.firstIndex(where: { $0.stage == stage && $0.reason == letter.reason }) {
          groups[index].count += 1
        } else {
          groups.append((stage, letter.reason, 1))
        }
      }
      if arguments.has("json") {
        let groupValues = groups.map { group in
          JSONValue.object([
            .init("stage", .string(group.stage)), .init("reason", .string(group.reason)),
            .init("count", .int(group.count)),
          ])
        }
        Console.out(
          JSONValue.object([
            .init("groups", .array(groupValues)), .init("records", .array(letters.map(json))),
          ]).text)
      } else if letters.isEmpty {
        Console.out("no dead letters")
      } else {
        Console.out(
          Console.table(
            [["STAGE", "REASON", "LETTERS"]] + groups.map { [$0.stage, $0.reason, "\($0.count)"] }, right: [2]))
        Console.out("")
        Console.out(
          Console.table(
            [["ID", "STAGE", "ATTEMPTS", "LAST", "REASON"]]
              + letters.map { letter in
                [
                  letter.id?.description ?? "-", letter.stage.stage, "\(letter.attempts)", "\(letter.last)",
                  letter.reason,
                ]
              }, right: [2]))
      }
      return .ok
    }
  }

  private static func json(_ letter: DeadLetters.Letter) -> JSONValue {
    .object([
      .init("id", .optional(letter.id?.description)), .init("stage", .string(letter.stage.stage)),
      .init("flow", .string(letter.stage.flow)), .init("reason", .string(letter.reason)),
      .init("message", .string(letter.message)), .init("attempts", .int(letter.attempts)),
      .init("first", .string(letter.first.description)), .init("last", .string(letter.last.description)),
      .init("topic", .string(letter.record.topicPartition.topic)),
      .init("partition", .int(letter.record.topicPartition.partition)),
      .init("offset", .int(Int(letter.record.offset))),
    ])
  }

  private static func deadShow(_ application: Application) -> Command {
    Command(
      "show", "Shows a dead letter: why it died, its timeline, and its content.",
      options: Deployment.options + [.flag("content", "Prints the content alone, byte for byte.")],
      positionals: [.required("ID", "The message's id, as `dead list` shows it.")]
    ) { arguments in
      let session = try await OperatorSession(arguments, application)
      let letters = try await DeadLetters(
        session.topology, broker: session.broker, clock: SystemClock.shared, contentStore: session.contentStore
      ).list(try filter(arguments), limit: 1)
      guard let letter = letters.first else {
        await session.broker.close()
        throw ServiceError(.dataError, "no dead letter \(arguments.word("ID") ?? "")")
      }
      let content =
        if let message = letter.content { try await message.content.load() } else { try await letter.record.value() }
      await session.broker.close()
      if arguments.has("content") {
        Console.write(1, Array(content))
        return .ok
      }
      let facts = [
        ["stage", "\(letter.stage)"], ["reason", letter.reason], ["message", letter.message],
        ["attempts", "\(letter.attempts)"], ["first", "\(letter.first)"], ["last", "\(letter.last)"],
        ["size", "\(content.count) bytes"],
      ]
      Console.out(Console.table(facts + (letter.content?.attributes ?? []).map { [$0.name, $0.value] }))
      for event in letter.content?.history ?? [] { Console.out("  \(TraceText.line(event))") }
      return .ok
    }
  }

  private static func deadReplay(_ application: Application) -> Command {
    Command(
      "replay", "Sends dead letters on their way again, from the stage that gave them up.",
      discussion:
        "A letter that is replayed is gone from the dead letters; a crash in between neither loses nor doubles it.",
      examples: [("mailflow dead replay --stage store --reason timeout", "Every letter of one group.")],
      options: Deployment.options + filters + [
        .flag("all", "Every letter, when no ID or filter is given."), .flag("dry-run", "Only says how many."),
      ],
      positionals: [.optional("ID", "One message.")]
    ) { arguments in try await perform(.replay, "replayed", arguments, application) }
  }

  private static func deadDiscard(_ application: Application) -> Command {
    Command(
      "discard", "Throws dead letters away; their timelines say so.",
      options: Deployment.options + filters + [
        .flag("all", "Every letter, when no ID or filter is given."), .flag("dry-run", "Only says how many."),
      ],
      positionals: [.optional("ID", "One message.")]
    ) { arguments in try await perform(.discard, "discarded", arguments, application) }
  }

  private static func perform(
    _ action: DeadLetters.Action, _ word: String, _ arguments: Arguments, _ application: Application
  ) async throws -> ExitCode {
    let filter = try filter(arguments)
    guard filter.id != nil || filter.stage != nil || filter.reason != nil || arguments.has("all") else {
      throw ServiceError(.usage, "which letters?", hint: "name an ID, --stage, --reason, or --all")
    }
    let session = try await OperatorSession(arguments, application)
    try await check(filter, session)
    let letters = DeadLetters(
      session.topology, broker: session.broker, clock: SystemClock.shared, contentStore: session.contentStore)
    let count: Int
    if arguments.has("dry-run") {
      count = try await letters.list(filter, limit: .max).count
    } else {
      count = try await letters.perform(action, filter, instance: "dead-\(getpid())")
    }
    await session.broker.close()
    if count == 0, let id = filter.id { throw ServiceError(.dataError, "no dead letter \(id)") }
    Console.out("\(count) \(arguments.has("dry-run") ? "would be \(word)" : word)")
    return .ok
  }
}

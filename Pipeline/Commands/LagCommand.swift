import Pipeline

extension Command {
  /// `lag`: how far behind every topic is.
  static func lag(_ application: Application) -> Command {
    Command(
      "lag", "Shows how far behind every topic is.",
      discussion: "Records that wait, the age of the oldest, records a second in and out, and how long the rest takes.",
      examples: [
        ("mailflow lag --watch", "Shows it every second until Ctrl-C."),
        ("mailflow lag --json --data /var/lib/mailflow", "For scripts."),
      ],
      options: Deployment.options + [
        .flag("watch", "Shows it again every second."), .flag("all", "Also topics in which nothing waits or moves."),
        .flag("members", "Also who has which partitions of each stage."), .flag("json", "Prints JSON."),
      ]
    ) { arguments in
      let session = try await OperatorSession(arguments, application)
      let clock = SystemClock.shared
      var before = try await LagReport.take(session.topology, broker: session.broker, clock: clock)
      repeat {
        try await clock.sleep(for: .seconds(1))
        let report = try await LagReport.take(session.topology, broker: session.broker, clock: clock, since: before)
        if arguments.has("json") {
          Console.out(json(report).text)
        } else {
          if arguments.has("watch"), Console.isTerminal { Console.out("\u{1B}[H\u{1B}[2J") }
          Console.out(table(report, all: arguments.has("all")))
          if arguments.has("members") { Console.out("\n" + members(report)) }
        }
        before = report
      } while arguments.has("watch")
      await session.broker.close()
      return .ok
    }
  }

  private static func json(_ report: LagReport) -> JSONValue {
    func seconds(_ duration: Duration?) -> JSONValue {
      duration.map { .number(Double($0.milliseconds) / 1000) } ?? .null
    }
    let topics = report.rows.map { row in
      JSONValue.object([
        .init("topic", .string(row.topic)), .init("stage", .string(row.stage.stage)),
        .init("flow", .string(row.stage.flow)), .init("kind", .string(row.kind.rawValue)),
        .init("records", .int(Int(row.records))), .init("oldestAgeSeconds", seconds(row.oldest)),
        .init("inPerSecond", row.rates.map { .number($0.into) } ?? .null),
        .init("outPerSecond", row.rates.map { .number($0.out) } ?? .null), .init("drainSeconds", seconds(row.drain)),
        .init(
          "members",
          .array(
            row.members.map { member in
              .object([
                .init("name", .string(member.name)), .init("partitions", .array(member.partitions.map { .int($0) })),
              ])
            })),
      ])
    }
    return .object([.init("topics", .array(topics))])
  }

  private static func members(_ report: LagReport) -> String {
    var rows = [["STAGE", "MEMBER", "PARTITIONS"]]
    for row in report.rows where row.kind == .ready {
      for member in row.members { rows.append([row.stage.description, member.name, ranges(member.partitions)]) }
      if row.members.isEmpty { rows.append([row.stage.description, "nobody", ""]) }
    }
    return Console.table(rows)
  }

  /// `0-3 7` of 0, 1, 2, 3 and 7.
  private static func ranges(_ numbers: [Int]) -> String {
    var ranges: [ClosedRange<Int>] = []
    for number in numbers {
      if let last = ranges.last, last.upperBound + 1 == number {
        ranges[ranges.count - 1] = last.lowerBound...number
      } else {
        ranges.append(number...number)
      }
    }
    return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
      .joined(separator: " ")
  }

  private static func table(_ report: LagReport, all: Bool) -> String {
    var rows = [["TOPIC", "KIND", "RECORDS", "OLDEST", "IN/S", "OUT/S", "DRAINED IN"]]
    func age(_ duration: Duration?) -> String {
      guard let duration else { return "" }
      return duration < .seconds(120) ? "\(duration.milliseconds / 1000)s" : "\(duration.milliseconds / 60_000)m"
    }
    for row in report.rows {
      let rates = row.rates ?? (0, 0)
      guard all || row.kind == .ready || row.records > 0 || rates.into > 0 || rates.out > 0 else { continue }
      rows.append([
        row.topic, row.kind.rawValue, "\(row.records)", age(row.oldest), "\(Int(rates.into))", "\(Int(rates.out))",
        row.records == 0 ? "" : row.drain.map { age($0) } ?? "not shrinking",
      ])
    }
    return Console.table(rows, right: [2, 3, 4, 5, 6])
  }
}

/// What commands that look into a deployment share: the topology and an open broker.
struct OperatorSession {
  let topology: Topology
  let folder: DataFolder
  let broker: any Broker
  let contentStore: (any ContentStore)?

  init(_ arguments: Arguments, _ application: Application) async throws {
    let deployment = try Deployment(arguments, application)
    topology = deployment.topology
    folder = deployment.folder
    guard DataFolder.exists(folder.path) else {
      throw ServiceError(
        .unavailable, "there is no data folder \(folder.path)",
        hint: "name the one that the service runs on with --data DIR, or start it with `\(application.name) up`")
    }
    try folder.requireAccess()
    // Opening a broker makes one where there is none: looking must not.
    guard topology.broker != .embedded || DataFolder.exists(folder.broker) else {
      throw ServiceError(
        .unavailable, "there is nothing of \(application.name) in \(folder.path)",
        hint: "name the folder that the service runs on with --data DIR, or start it with `\(application.name) up`")
    }
    broker = try await application.openBroker(topology, folder)
    contentStore = try application.openContentStore(topology, folder)
  }
}

public import Mail
public import Pipeline

/// Refuses what is not mail that we take: too large, malformed, looping, or for nobody.
///
/// Reasons of refusal: `size`, `syntax.header`, `syntax.date`, `header.8bit`, `header.too-large`, `loop`,
/// `recipient.missing`, `recipient.unknown`, `recipient.not-ours`. Recipients that are gone are taken out of the
/// envelope while others are left, and named in the annotation `recipients-gone`.
public struct ValidateStage: Stage {
  /// What a topology can set.
  public struct Options: StageOptions {
    /// What can be set.
    public static let schema = OptionSchema([
      Option("max-size", .size(1024...1 << 30), default: .integer(50 << 20), "Largest message in bytes."),
      Option(
        "max-hops", .integer(1...1000), default: .integer(50),
        "Received header fields before a message counts as looping."),
      Option(
        "headers", .choice(HeaderCheck.Level.allCases.map(\.rawValue)), default: .text("tolerant"),
        "How much of RFC 5322 header sections have to keep."),
      Option(
        "eight-bit-headers", .boolean, default: .boolean(true), "Whether bytes above 127 may stand in header sections."),
      Option(
        "max-header-fields", .integer(10...100_000), default: .integer(2000), "Most header fields of a message."),
      Option(
        "max-header-size", .size(4096...16 << 20), default: .integer(512 << 10), "Largest header section in bytes."),
      Option(
        "check-recipients", .boolean, default: .boolean(true),
        "Whether recipients must exist, or be elsewhere and the sender authenticated."),
    ])
    let maximumSize: Int
    let maximumHops: Int
    let check: HeaderCheck
    let limits: HeaderSection.Limits
    let checksRecipients: Bool

    /// Takes values that were checked against the schema.
    public init(_ values: OptionValues) {
      maximumSize = values.int("max-size")
      maximumHops = values.int("max-hops")
      check = HeaderCheck(
        level: values.text("headers").flatMap { HeaderCheck.Level(rawValue: $0) } ?? .tolerant,
        allowsEightBit: values.bool("eight-bit-headers"))
      limits = HeaderSection.Limits(fields: values.int("max-header-fields"), bytes: values.int("max-header-size"))
      checksRecipients = values.bool("check-recipients")
    }
  }

  private let options: Options
  private let directory: MailDirectory

  /// A stage with these options, which asks `directory` for recipients.
  public init(_ options: Options, directory: MailDirectory) {
    self.options = options
    self.directory = directory
  }

  /// Adds the stage under the name `validate`.
  public static func register(in registry: inout StageRegistry, directory: MailDirectory) {
    registry.register(
      "validate", "Checks size, header syntax, loops and recipients.", options: Options.self, onlyJudges: true,
      needsDataFolder: { $0.checksRecipients }
    ) { options, _ in .one(ValidateStage(options, directory: directory)) }
  }

  /// See `Stage`.
  public func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    guard message.content.size <= options.maximumSize else {
      return .reject(
        reason: "size", message: "\(message.content.size) bytes, \(options.maximumSize) are allowed (max-size)")
    }
    let header = HeaderSection(try await message.content.load(), limits: options.limits)
    // A loop shows in more fields than are allowed, too: it is named first.
    let hops = header.count(of: "received")
    guard hops <= options.maximumHops else {
      return .reject(
        reason: "loop",
        message: "\(hops) Received header fields, \(options.maximumHops) are allowed (max-hops): a mail loop?")
    }
    if let problem = options.check.problem(header) { return .reject(reason: problem.reason, message: problem.message) }
    return try await checkRecipients(of: message)
  }

  /// See `Stage`.
  public func probe() async throws {
    do { try await directory.probe() } catch { throw error.stageError }
  }

  private func checkRecipients(of message: Message) async throws -> Outcome {
    let envelope = Envelope(message)
    guard !envelope.recipients.isEmpty else {
      return .reject(reason: "recipient.missing", message: "the envelope has no recipient")
    }
    guard options.checksRecipients else { return .forward(message) }
    let resolutions: [MailDirectory.Resolution]
    do { resolutions = try await directory.resolve(envelope.recipients) } catch { throw error.stageError }
    var kept: [EmailAddress] = []
    var gone: [EmailAddress] = []
    var reason = "recipient.unknown"
    for (recipient, resolution) in zip(envelope.recipients, resolutions) {
      switch resolution {
      // Whether there is room is for `store` to say: there may be by then.
      case .mailbox, .overQuota: kept.append(recipient)
      case .unknownUser: gone.append(recipient)
      case .notOurs where envelope.authenticated != nil: kept.append(recipient)
      case .notOurs:
        reason = "recipient.not-ours"
        gone.append(recipient)
      }
    }
    guard !gone.isEmpty else { return .forward(message) }
    let names = gone.prefix(10).map(\.description).joined(separator: " ") + (gone.count > 10 ? " …" : "")
    guard !kept.isEmpty else {
      return .reject(
        reason: reason,
        message: reason == "recipient.unknown"
          ? "no such user: \(names)" : "not for a domain of ours, and the sender did not authenticate: \(names)")
    }
    var message = message
    message.setAttribute(MailAttributes.rcptTo, Envelope.text(kept))
    message.annotate("recipients-gone", names)
    return .forward(message)
  }
}

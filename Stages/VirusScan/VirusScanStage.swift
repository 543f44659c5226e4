import Mail
public import Pipeline

/// Keeps harmful files out of mailboxes: known files by their digest, the EICAR test file, files that do something when
/// they are opened, in attachments and in the archives among them.
///
/// What is known becomes a dead letter with the reason `virus.NAME`. What is only dangerous goes on, marked as spam, so
/// that it is filed in Junk; `dangerous: reject` makes it a dead letter with the reason `dangerous.KIND`.
public struct VirusScanStage: Stage {
  /// What a topology can set.
  public struct Options: StageOptions {
    /// What can be set.
    public static let schema = OptionSchema([
      Option(
        "signatures", .list, default: .list([]),
        "Files with digests of known files: .hdb, .hsb, or a digest a line; read again when they change."),
      Option(
        "dangerous", .choice(["junk", "reject", "pass"]), default: .text("junk"),
        "What becomes of programs, scripts, links and archives that cannot be looked into, or not within these limits."),
      Option("max-depth", .integer(0...32), default: .integer(5), "Archives in archives."),
      Option("max-files", .integer(1...1_000_000), default: .integer(2000), "Files in the archives of a message."),
      Option(
        "max-unpacked", .size(1024...4 << 30), default: .integer(128 << 20),
        "Bytes of the files in the archives of a message."),
      Option(
        "max-ratio", .integer(1...100_000), default: .integer(250),
        "How many times its size an attachment may unpack to; up to a MiB, any may."),
      Option(
        "max-unpack-time", .duration(.milliseconds(1)...(.seconds(3600))), default: .duration(.seconds(10)),
        "Processor time of unpacking what is in a message."),
    ])
    let signatures: [String]
    let dangerous: String
    let limits: ContentScanner.Limits

    /// Takes values that were checked against the schema.
    public init(_ values: OptionValues) {
      signatures = values.list("signatures")
      dangerous = values.text("dangerous") ?? "junk"
      limits = ContentScanner.Limits(
        depth: values.int("max-depth"), files: values.int("max-files"), bytes: values.int("max-unpacked"),
        ratio: values.int("max-ratio"), time: values.duration("max-unpack-time"))
    }
  }

  private let options: Options
  private let signatures: SignatureFiles

  /// A stage with these options.
  ///
  /// - Throws: an error that names the file of signatures that cannot be read.
  public init(_ options: Options) throws {
    self.options = options
    signatures = try SignatureFiles(options.signatures)
  }

  /// Adds the stage under the name `virus-scan`.
  public static func register(in registry: inout StageRegistry) {
    registry.register(
      "virus-scan", "Looks for harmful files in attachments and archives.", options: Options.self,
      onlyJudges: true
    ) { options, _ in .one(try VirusScanStage(options)) }
  }

  /// See `Stage`.
  public func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    let mime = MIMEMessage(try await message.content.load())
    let scanner = ContentScanner(
      signatures: signatures.current(at: context.clock.now, context.log), limits: options.limits)
    var message = message
    switch try scanner.scan(mime) {
    case .clean: message.annotate("virus-scan", "clean")
    case .infected(let name):
      context.metrics.add("mailflow_virus_scan_total{result=\"infected\"}")
      return .reject(reason: "virus.\(name)", message: "the message carries \(name)")
    case .dangerous(let kind, let file):
      context.metrics.add("mailflow_virus_scan_total{result=\"dangerous\"}")
      if options.dangerous == "reject" {
        return .reject(
          reason: "dangerous.\(kind)", message: "a file of a dangerous kind (\(kind)): \(file.prefix(100))")
      }
      message.annotate("virus-scan", "dangerous \(kind)")
      if options.dangerous == "junk" { message.annotate(MailAnnotations.spam, "yes") }
    }
    return .forward(message)
  }
}

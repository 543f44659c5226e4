import Glibc
import Linux
import Mail
import Network
import OpenSSL
import Pipeline
import PipelineCommands

/// `send`: a message over SMTP, to the service that runs here or to any server.
enum SendCommand {
  /// The largest message that is read.
  private static let maximumSize = 1 << 30

  static func command(_ application: Application) -> Command {
    Command(
      "send", "Sends a message over SMTP.",
      discussion: """
        The message is read from FILE or standard input. Lines may end with LF or CR LF. With --subject the input is the \
        text alone, and From, To, Date, Subject and Message-ID are written in front of it; without, it has to begin with \
        its own header.

        Exit codes: 0 all recipients were taken; 65 the server refuses the message or a recipient for good, 77 does not \
        allow it, 75 puts it off; 69 the server cannot be reached, or lacks what is needed.
        """,
      examples: [
        (
          "echo 'It works.' | mailflow send --from you@example.org --to alice@example.com --subject Hello",
          "A text, to the service that runs on ./topology.yaml."
        ),
        ("mailflow send message.eml --from a@b.org --to x@c.org --to y@c.org", "A message as it is, to two people."),
        (
          "mailflow send message.eml --from a@b.org --to x@c.org --server mx.c.org:25 --tls",
          "To another server, by TLS."
        ),
      ],
      options: [
        .value("from", "ADDRESS", "Where failures are reported; <> for nowhere."),
        .repeated("to", "ADDRESS", "Who gets it; may be given several times."),
        .value("subject", "TEXT", "Writes a header with this subject in front of the input."),
        .value("server", "HOST:PORT", "The SMTP server; by default the service of --data, or where the topology says."),
        .flag("tls", "Goes over to TLS (STARTTLS) or fails; the server's certificate has to be right."),
        .flag("insecure", "With TLS, but whatever the certificate is."),
        .value("trust", "FILE", "With --tls: a PEM file of certificates to trust instead of the system's."),
        .value("timeout", "SECONDS", "How long to wait for each answer, 300 by default."),
        .flag("json", "Prints JSON."),
      ] + Deployment.options,
      positionals: [.optional("FILE", "The message; standard input by default, or for `-`.")]
    ) { arguments in try await run(arguments, application) }
  }

  private static func run(_ arguments: Arguments, _ application: Application) async throws -> ExitCode {
    let sender = try sender(arguments)
    let recipients = try arguments.values("to").map { try address($0, "--to") }
    guard !recipients.isEmpty else { throw ServiceError(.usage, "nobody to send to", hint: "--to ADDRESS") }
    let seconds = try arguments.int("timeout", in: 1...3600) ?? 300
    let client = try client(arguments, application)
    let security: SMTPClient.Security =
      arguments.has("insecure") ? .anyTLS : arguments.has("tls") ? .tls(trust: arguments.value("trust")) : .plain
    var text = try read(arguments.word("FILE"))
    if let subject = arguments.value("subject") { text = header(sender, recipients, subject) + text }
    let content = OutgoingContent(text)
    guard content.beginsWithHeader else {
      throw ServiceError(
        .dataError, "the message does not begin with a header field",
        hint: "--subject TEXT writes a header in front of a text")
    }
    let session = SMTPClientSession(
      .init(sender: sender, recipients: recipients, content: content), name: ownName(), wantsTLS: security.isTLS)
    do {
      let (ended, tls) = try await client.run(session, security, timeout: .seconds(seconds))
      let outcome = SendOutcome(session: ended, server: client.server, tls: tls)
      outcome.say(asJSON: arguments.has("json"))
      return outcome.exitCode
    } catch let error as NetworkError {
      throw unreachable(error, client.server)
    } catch let error as OpenSSLError {
      throw ServiceError(.config, "no TLS: \(error)", hint: "--trust names a PEM file with certificates")
    }
  }

  private static func unreachable(_ error: NetworkError, _ server: String) -> ServiceError {
    var hint: String?
    switch error {
    case .system(.connect, let code, _) where code == ECONNREFUSED:
      hint = "nothing listens there: is the service up (mailflow up), or elsewhere (--server HOST:PORT, --data DIR)?"
    case .tls: hint = "--trust FILE names whom to trust, --insecure takes any certificate"
    default: break
    }
    return ServiceError(.unavailable, "cannot send to \(server): \(error)", hint: hint)
  }

  // MARK: What was said

  private static func sender(_ arguments: Arguments) throws(ServiceError) -> EmailAddress? {
    guard let text = arguments.value("from") else {
      throw ServiceError(.usage, "nobody to send from", hint: "--from ADDRESS, or --from '<>'")
    }
    return text.isEmpty || text == "<>" ? nil : try address(text, "--from")
  }

  private static func address(_ text: String, _ option: String) throws(ServiceError) -> EmailAddress {
    guard let address = EmailAddress(text, allowingUTF8: true) else {
      throw ServiceError(.usage, "\(option) takes an address, not `\(text.prefix(80))`", hint: "alice@example.com")
    }
    return address
  }

  private static func client(_ arguments: Arguments, _ application: Application) throws -> SMTPClient {
    if let server = arguments.value("server") {
      guard let client = SMTPClient(server) else {
        throw ServiceError(.usage, "--server takes HOST:PORT, not `\(server.prefix(80))`", hint: "mx.example.com:25")
      }
      return client
    }
    let deployment = try Deployment(arguments, application)
    guard let address = deployment.address(of: "smtp"), let client = SMTPClient(address) else {
      throw ServiceError(
        .unavailable, "the service on \(deployment.folder.path) has no address to send to",
        hint: "name one with --server HOST:PORT")
    }
    return client
  }

  private static func read(_ file: String?) throws(ServiceError) -> [UInt8] {
    let isFile = file != nil && file != "-"
    let name = isFile ? file ?? "" : "standard input"
    let descriptor = isFile ? open(name, O_RDONLY | O_CLOEXEC) : 0
    guard descriptor >= 0 else {
      throw ServiceError(.dataError, "cannot read \(name): \(String(cString: strerror(errno)))")
    }
    defer { if isFile { close(descriptor) } }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw ServiceError(.ioError, "cannot read \(name): \(String(cString: strerror(errno)))")
      }
      guard count > 0 else { return bytes }
      bytes += chunk[..<count]
      guard bytes.count <= maximumSize else {
        throw ServiceError(.dataError, "\(name) is larger than \(maximumSize) bytes")
      }
    }
  }

  private static func header(_ sender: EmailAddress?, _ recipients: [EmailAddress], _ subject: String) -> [UInt8] {
    let line = String(subject.map { $0.isNewline ? " " : $0 })
    let id = MessageID(at: SystemClock.shared.now, random: SystemRandom())
    let from = sender?.description ?? "postmaster@\(ownName())"
    let to = recipients.map(\.description).joined(separator: ",\n ")
    let text =
      "From: \(from)\nTo: \(to)\nSubject: \(line)\nDate: \(MailDate(SystemClock.shared.now))\n"
      + "Message-ID: <\(id)@\(ownName())>\n\n"
    return Array(text.utf8)
  }

  /// This machine's name, for EHLO.
  private static func ownName() -> String {
    let name = machineName()
    let isDomain =
      !name.isEmpty
      && name.utf8.allSatisfy {
        $0 == 45 || $0 == 46 || (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
      }
    return isDomain ? name : "localhost"
  }
}

extension SMTPClient.Security {
  fileprivate var isTLS: Bool { if case .plain = self { false } else { true } }
}

/// What came of sending, as it is said and as an exit code.
struct SendOutcome {
  let session: SMTPClientSession
  let server: String
  let tls: TLSDescription?

  /// The id that the server gave it, if it says so as we do.
  var id: String? {
    guard let text = session.accepted?.text, let range = text.firstRange(of: "queued as ") else { return nil }
    return String(text[range.upperBound...].prefix { !$0.isWhitespace })
  }

  /// The worst of what was answered: what is final before what may be tried again.
  var exitCode: ExitCode {
    switch session.failure {
    case .missing: return .unavailable
    case .tooLarge: return .dataError
    case .refused(_, let reply): return Self.code(reply)
    case nil: break
    }
    let codes = session.refused.map { Self.code($0.reply) }
    return codes.first { $0 != .temporary } ?? codes.first ?? .ok
  }

  private static func code(_ reply: SMTPClientSession.Reply) -> ExitCode {
    if (400...499).contains(reply.code) { return .temporary }
    // 530, 535 and what policy forbids (RFC 3463 section 3.8).
    if [530, 535, 538].contains(reply.code) || reply.status?.hasPrefix("5.7.") == true { return .noPermission }
    return (500...599).contains(reply.code) ? .dataError : .unavailable
  }

  func say(asJSON: Bool) {
    if asJSON { return Console.out(json.text) }
    if let accepted = session.accepted {
      Console.out(id.map { "queued as \($0) at \(server)" } ?? "accepted by \(server): \(accepted.text)")
    }
    for (recipient, reply) in session.refused {
      Console.error("mailflow: \(server) refuses \(recipient): \(reply.code) \(reply.text)")
    }
    if let failure { Console.error("mailflow: \(failure)") }
  }

  private var failure: String? {
    switch session.failure {
    case .refused(let command, let reply): "\(server) refuses \(command): \(reply.code) \(reply.text)"
    case .missing("SMTPUTF8"): "\(server) takes no addresses beyond ASCII (SMTPUTF8)"
    case .missing(let name): "\(server) does not offer \(name)"
    case .tooLarge(let limit): "the message is larger than \(server) takes: \(limit) bytes"
    case nil: nil
    }
  }

  private var json: JSONValue {
    let refused = session.refused.map { recipient, reply -> JSONValue in
      .object([
        .init("recipient", .string(recipient.description)), .init("code", .int(reply.code)),
        .init("status", .optional(reply.status)), .init("text", .string(reply.text)),
      ])
    }
    return .object([
      .init("id", .optional(id)), .init("server", .string(server)), .init("accepted", .bool(session.accepted != nil)),
      .init("reply", .optional(session.accepted.map { "\($0.code) \($0.text)" })),
      .init("refused", .array(refused)), .init("error", .optional(failure)),
      .init("tls", .optional(tls.map { "\($0.version) \($0.cipher)" })),
    ])
  }
}

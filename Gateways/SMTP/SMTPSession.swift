public import Mail
public import Network
public import Pipeline

/// The server's side of one SMTP connection (RFC 5321): takes bytes and answers, says what to do next. No I/O.
///
/// For example:
///
/// ```swift
/// var session = SMTPSession(configuration, remoteAddress: "192.0.2.1", at: clock.now)
/// // write takeOutput(), read bytes, then
/// let (consumed, action) = session.receive(bytes, at: clock.now)
/// ```
///
/// Replies collect in an output that is taken when the action is `.read` or `.close`, so that a batch of pipelined
/// commands is answered at once. The same bytes give the same replies however they are split.
public struct SMTPSession: Sendable {
  /// What the connection's owner does next.
  public enum Action: Sendable {
    /// Write the output, then read more, until `deadline`.
    case read
    /// Ask the directory, then call `resolved`.
    case resolve(EmailAddress)
    /// Write the output, ask the acceptor, then call `accepted`.
    case accept(ReceivedMail)
    /// Write the output, shake hands, then call `secured`; if that fails, close the connection.
    case startTLS
    /// Write the output, then close the connection.
    case close
  }

  enum Phase {
    case command
    /// Waiting for the directory's word on this recipient.
    case resolving(EmailAddress)
    case data(SMTPDataReader, began: Timestamp?)
    /// Within a chunk, which `chunks` counts; it is read to its end in any case.
    case chunk(refusal: SMTPReply?, began: Timestamp?)
    /// Waiting for the handshake.
    case securing
    /// Waiting for the acceptor's word.
    case accepting
    case closed
  }

  struct Transaction {
    var reversePath: EmailAddress?
    var body: SMTPBodyType
    var isInternational: Bool
    var recipients: [EmailAddress] = []
    /// RCPT commands so far.
    var questions = 0
  }

  /// A configuration that sessions share: each holds a reference, since thousands may be idle.
  final class Settings: Sendable {
    let configuration: SMTPSessionConfiguration
    init(_ configuration: SMTPSessionConfiguration) { self.configuration = configuration }
  }

  private let settings: Settings
  var configuration: SMTPSessionConfiguration { settings.configuration }
  let remoteAddress: String
  let allowance: (any SMTPAllowance)?
  var phase = Phase.command
  var lines = SMTPLineReader()
  var client: (name: String, isExtended: Bool)?
  var tls: TLSDescription?
  var transaction: Transaction?
  /// The message of the transaction, once there was a BDAT.
  var chunks: SMTPChunkReader?
  var output: [UInt8] = []
  var errors = 0
  var messages = 0
  var delay = Duration.zero
  var idleCommands = 0
  var bareLineEndings = 0
  var isDraining = false
  var isOutOfStorage = false

  /// When the client must have sent what it is waited for; `timedOut` is called then.
  public internal(set) var deadline: Timestamp

  /// A session that greets its client, who may do what `allowance` says; anything if it is nil.
  public init(
    _ configuration: SMTPSessionConfiguration, remoteAddress: String, allowance: (any SMTPAllowance)? = nil,
    at now: Timestamp
  ) {
    self.init(Settings(configuration), remoteAddress: remoteAddress, allowance: allowance, at: now)
  }

  init(_ settings: Settings, remoteAddress: String, allowance: (any SMTPAllowance)?, at now: Timestamp) {
    let configuration = settings.configuration
    self.settings = settings
    self.remoteAddress = remoteAddress
    self.allowance = allowance
    deadline = now + configuration.timeLimits.command
    SMTPReply(220, nil, "\(configuration.hostname) ESMTP Mailflow").encode(into: &output)
  }

  /// The replies to write; empty afterwards.
  public mutating func takeOutput() -> [UInt8] {
    defer { output = [] }
    return output
  }

  /// How long the output waits before it is written, since the client makes errors; zero afterwards.
  public mutating func takeDelay() -> Duration {
    defer { delay = .zero }
    return delay
  }

  /// Whether there is something to write.
  public var hasOutput: Bool { !output.isEmpty }

  /// Whether the client has been answered, so that the connection may end in order.
  public var isBetweenCommands: Bool { if case .command = phase { true } else { false } }

  /// Whether nothing of what the client says counts any more.
  public var isClosed: Bool { if case .closed = phase { true } else { false } }

  /// Octets of a message that are held in memory.
  public var heldBytes: Int {
    if case .data(let reader, _) = phase { reader.content.count } else { chunks?.content.count ?? 0 }
  }

  /// Takes bytes, perhaps not all: those left over are handed in again once the action is done.
  public mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Timestamp) -> (consumed: Int, action: Action) {
    var at = 0
    while at < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
      let action: Action?
      switch phase {
      case .command:
        let (consumed, event) = lines.read(rest)
        at += consumed
        action = event.flatMap { handle($0, at: now) }
        // What stands behind STARTTLS came in plain: somebody in between may have put it there (CVE-2011-0411).
        if case .startTLS? = action, at < bytes.count { return (at, close(.behindStartTLS)) }
        if case .startTLS? = action { SMTPReply.startTLS.encode(into: &output) }
      case .data(var reader, let began):
        // The reader must not be held twice while it grows, or its content would be copied.
        phase = .closed
        at += reader.read(rest)
        let start = began ?? now
        action = reader.isComplete ? finish(reader.content, reader.defect, at: now) : nil
        if !reader.isComplete {
          phase = .data(reader, began: start)
          awaitBlock(began: start, at: now)
        }
      case .chunk(let refusal, let began):
        at += chunks?.read(rest) ?? rest.count
        let start = began ?? now
        phase = .chunk(refusal: refusal, began: start)
        awaitBlock(began: start, at: now)
        action = chunks?.left == 0 ? finishChunk(refusal, at: now) : nil
      case .resolving, .accepting, .securing: return (at, .read)
      case .closed: return (bytes.count, .close)
      }
      if let action { return (at, action) }
    }
    return (at, .read)
  }

  /// Takes the directory's word. More bytes may follow at once.
  public mutating func resolved(_ status: RecipientStatus, at now: Timestamp) -> Action {
    guard case .resolving(let address) = phase else { return .read }
    phase = .command
    switch status {
    case .known:
      if transaction?.recipients.contains(address) == false { transaction?.recipients.append(address) }
      return reply(.recipientOk, at: now)
    case .unknown: return reply(.unknownRecipient, at: now)
    case .notLocal: return reply(.relayingDenied, at: now)
    case .overQuota: return reply(.mailboxFullForNow, at: now)
    case .full: return reply(.mailboxFull, at: now)
    case .unavailable: return reply(.directoryAway, at: now)
    }
  }

  /// Takes the acceptor's word. Only `.accepted` is answered with 250.
  public mutating func accepted(_ result: AcceptResult, at now: Timestamp) -> Action {
    guard case .accepting = phase else { return .read }
    phase = .command
    switch result {
    case .accepted(let id):
      idleCommands = 0
      return reply(SMTPReply(250, "2.0.0", "Ok: queued as \(id)"), at: now)
    case .unavailable: return reply(.acceptorAway, at: now)
    case .storageFull: return reply(.storageFull, at: now)
    case .refused(let refusal): return reply(refusal.isError ? refusal : .acceptorAway, at: now)
    }
  }

  /// Begins anew within TLS: nothing that was said in plain counts (RFC 3207 section 4.2). At the start of an implicit TLS
  /// connection the greeting stays.
  public mutating func secured(_ tls: TLSDescription, at now: Timestamp) {
    self.tls = tls
    client = nil
    endTransaction()
    lines = SMTPLineReader()
    phase = .command
    deadline = now + configuration.timeLimits.command
  }

  /// Gives up a client that let `deadline` pass.
  public mutating func timedOut() -> Action { close(.timedOut) }

  /// Prepares for the end of the service: a client whose message is arriving may finish it, any other one is sent away at
  /// its next command boundary, at once if it is at one.
  public mutating func drain() -> Action {
    isDraining = true
    if case .command = phase { return close(.shuttingDown) }
    if case .closed = phase { return .close }
    return .read
  }

  /// Sends a client away that would have to wait for its answer, together with too many others.
  public mutating func turnAway() -> Action { close(.tooManyErrors) }

  /// Ends a session whatever it is doing: the service cannot wait any longer.
  public mutating func stop() -> Action { close(.shuttingDown) }

  /// Stops keeping the message that is arriving: there is no memory for it. It is read to its end and refused (452).
  public mutating func refuseMessage() {
    isOutOfStorage = true
    chunks?.discard()
    guard case .data(var reader, let began) = phase else { return }
    phase = .closed
    reader.discard()
    phase = .data(reader, began: began)
  }
}

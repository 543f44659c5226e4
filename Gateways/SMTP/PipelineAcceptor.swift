import Mail
public import Pipeline

/// Takes charge of mail by making it durable in the topic of its flow's first stage.
///
/// What travels is the message as it was received, byte for byte, with the envelope as attributes: `store` puts the trace
/// fields in front of it. The id in the reply and of the message are the same.
public struct PipelineAcceptor: MailAcceptor {
  private let intake: Intake
  private let hostname: String
  private let source: String
  private let log: Log

  /// An acceptor for the flow of `intake`.
  ///
  /// - Parameters:
  ///   - hostname: our name in trace fields.
  ///   - source: the gateway's name in the topology.
  public init(_ intake: Intake, hostname: String, source: String = "smtp", log: Log) {
    self.intake = intake
    self.hostname = hostname
    self.source = source
    self.log = log
  }

  /// See `MailAcceptor`.
  public func accept(_ mail: ReceivedMail) async -> AcceptResult {
    let id = intake.newID()
    let envelope = envelope(mail)
    let content = Bytes(mail.content)
    do throws(BrokerError) {
      let reply = try await intake.offer(
        id: id, content: content, contentType: "message/rfc822", source: source, attributes: envelope.attributes,
        // Its timeline is found by the name that sender and recipient know, from the first moment on.
        annotations: [(MailAnnotations.messageID, HeaderSection(content).messageID)])
      switch reply {
      case .accepted(let id): return .accepted(id: id.description)
      case .refused(let stage, let reason, let text):
        log.write(.info, "a stage rejects mail before it is accepted", ("stage", "\(stage)"), ("reason", reason))
        return .refused(.rejected(reason: reason, text))
      }
    } catch {
      log.write(
        .warning, "mail was not queued", ("id", id.description), ("kind", error.kind.rawValue),
        ("error", error.description))
      switch error.kind {
      case .storageFull: return .storageFull
      case .tooLarge: return .refused(SMTPReply(552, "5.3.4", "Message is too large"))
      default: return .unavailable
      }
    }
  }

  private func envelope(_ mail: ReceivedMail) -> Envelope {
    Envelope(
      sender: mail.reversePath, recipients: mail.recipients, helo: mail.helo, remoteAddress: mail.remoteAddress,
      protocolName: mail.transmission.name, encryption: mail.transmission.encryption,
      isEightBit: mail.body == .eightBitMIME, receivedBy: hostname)
  }
}

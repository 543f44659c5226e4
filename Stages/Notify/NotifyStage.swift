import Mail
public import Pipeline

/// Tells gateways of new mail, by an event on the topic `NAME.events`: what a client that is connected is told at once,
/// and one that was away reads later. The event and the end of the message's way are settled together: each once.
///
/// An event is a JSON object: `mailbox` (address), `id`, `folder`, `uid`, `messageId`, `received`; its type is
/// `mail.stored`.
public struct NotifyStage: Stage {
  /// What the event is called.
  public static let stored = "mail.stored"

  /// A stage without options.
  public init() {}

  /// Adds the stage under the name `notify`.
  public static func register(in registry: inout StageRegistry) {
    registry.register(
      "notify", "Tells connected clients of new mail.", options: NoOptions.self, readsContent: false
    ) { _, _ in .one(NotifyStage()) }
  }

  /// See `Stage`.
  public func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    var message = message
    if let copy = StoredCopy(message) {
      message.announce(
        Announcement(
          Self.stored, key: Bytes(copy.mailbox.description),
          [
            "mailbox": .string(copy.mailbox.description), "id": .string(copy.id.description),
            "folder": .string(String(copy.folder)), "uid": .int(Int(copy.uid)),
            "messageId": .optional(message.annotation(MailAnnotations.messageID)),
            "received": .string(message.acceptedAt.description),
          ]))
    }
    return .forward(message)
  }
}

public import Mail
public import Pipeline

/// Puts messages into the mailboxes of their recipients (or, of what users send, into the sender's folder Sent).
///
/// A batch is one transaction. A message for one mailbox goes on as it is, with annotations that say where it is kept;
/// one for several is split into a part for each, keyed by the mailbox. If some of several cannot take it, every part
/// comes here once more alone, so that those fail by themselves and can be replayed by themselves. A repeat, whatever
/// the order, finds what was stored and changes nothing.
///
/// Reasons of refusal: `quota`, `recipient.unknown`, `recipient.missing`, `sender.unknown`, `sender.missing`.
public struct StoreStage: BatchStage {
  /// What a topology can set.
  public struct Options: StageOptions {
    /// What can be set.
    public static let schema = OptionSchema([
      Option(
        "mailbox", .choice(["recipients", "sender"]), default: .text("recipients"),
        "Whose mailbox: each recipient's, or the folder Sent of the user who sends it."),
      Option(
        "over-quota", .choice(["reject", "retry"]), default: .text("reject"),
        "What becomes of mail for a full mailbox: a dead letter at once, or tried again until `give-up`."),
      Option("junk", .boolean, default: .boolean(true), "Whether mail that a scanner called spam goes to Junk."),
    ])
    let isForSender: Bool
    let retriesWhenFull: Bool
    let filesJunk: Bool

    /// Takes values that were checked against the schema.
    public init(_ values: OptionValues) {
      isForSender = values.text("mailbox") == "sender"
      retriesWhenFull = values.text("over-quota") == "retry"
      filesJunk = values.bool("junk")
    }
  }

  /// The most messages of one batch.
  public static let batchLimit = 256

  private let options: Options
  private let store: MailStore
  private let directory: MailDirectory

  /// A stage that puts messages into `store`.
  public init(_ options: Options, store: MailStore, directory: MailDirectory) {
    self.options = options
    self.store = store
    self.directory = directory
  }

  /// Adds the stage under the name `store`.
  public static func register(in registry: inout StageRegistry, store: MailStore, directory: MailDirectory) {
    registry.register(
      "store", "Puts messages into mailboxes.", options: Options.self, needsDataFolder: { _ in true }
    ) { options, _ in
      .batch(StoreStage(options, store: store, directory: directory), limit: batchLimit)
    }
  }

  /// See `BatchStage.probe`.
  public func probe() async throws {
    do { try await store.probe() } catch { throw error.stageError }
  }

  /// See `BatchStage.process`.
  public func process(_ batch: [Message], _ context: StageContext) async throws -> [Outcome] {
    var plans = try await plan(batch, context)
    let deliveries = plans.flatMap(\.deliveries)
    let results: [DeliveryResult]
    do { results = try await store.store(deliveries) } catch { throw error.stageError }
    count(results, context.metrics)
    var at = 0
    for index in plans.indices {
      let count = plans[index].deliveries.count
      plans[index].results = Array(results[at..<min(at + count, results.count)])
      at += count
    }
    return plans.map { $0.outcome(options) }
  }

  private func count(_ results: [DeliveryResult], _ metrics: Metrics) {
    for result in results {
      switch result {
      case .stored: metrics.add("mailflow_mailbox_deliveries_total{result=\"stored\"}")
      case .repeated: metrics.add("mailflow_mailbox_deliveries_total{result=\"repeated\"}")
      case .overQuota: metrics.add("mailflow_mailbox_deliveries_total{result=\"over-quota\"}")
      case .noMailbox: metrics.add("mailflow_mailbox_deliveries_total{result=\"no-mailbox\"}")
      }
    }
  }

  // MARK: Planning

  private func plan(_ batch: [Message], _ context: StageContext) async throws -> [StorePlan] {
    let envelopes = batch.map { Envelope($0) }
    let addresses = envelopes.map { envelope in
      options.isForSender ? [envelope.authenticated ?? envelope.sender].compactMap { $0 } : envelope.recipients
    }
    let resolutions: [MailDirectory.Resolution]
    do { resolutions = try await directory.resolve(addresses.flatMap { $0 }) } catch { throw error.stageError }
    var plans: [StorePlan] = []
    var at = 0
    for (index, message) in batch.enumerated() {
      let found = zip(addresses[index], resolutions[at..<min(at + addresses[index].count, resolutions.count)])
      at += addresses[index].count
      var plan = StorePlan(
        message, stage: context.stage.stage, found: found.map { ($0, $1.mailbox) },
        isForSender: options.isForSender)
      if plan.mustStore { try await prepare(&plan, envelopes[index], at: context.clock.now) }
      plans.append(plan)
    }
    return plans
  }

  private func prepare(_ plan: inout StorePlan, _ envelope: Envelope, at now: Timestamp) async throws {
    let message = plan.message
    let bytes: Bytes
    do { bytes = try await message.content.load() } catch let error as StageError where error.kind == .permanent {
      // Of this message alone; the others of the batch go on.
      plan.refusal = .reject(reason: error.reason, message: error.message)
      return
    }
    let summary = MessageSummary(bytes)
    let content: PreparedContent
    do { content = try await store.prepare(bytes) } catch { throw error.stageError }
    let isSpam = options.filesJunk && message.annotation(MailAnnotations.spam) == "yes"
    plan.deliveries = plan.targets.map { target in
      Delivery(
        mailbox: target.mailbox, folder: options.isForSender ? .sent : isSpam ? .junk : .inbox, id: target.id,
        origin: message.id, prefix: options.isForSender ? .empty : prefix(message, envelope, target),
        content: content, summary: summary, flags: options.isForSender ? .seen : [], received: now,
        isExemptFromQuota: target.recipients.contains(where: \.isPostmaster))
    }
  }

  /// What this mailbox's copy begins with. Only its own recipients are named in it.
  private func prefix(_ message: Message, _ envelope: Envelope, _ target: StorePlan.Target) -> Bytes {
    let recipient = target.recipients.count == 1 ? target.recipients.first : nil
    return Bytes(
      TraceHeaders.returnPath(envelope.sender) + (message.annotation(MailAnnotations.traceHeaders) ?? "")
        + TraceHeaders.received(
          envelope, host: envelope.receivedBy ?? "localhost", id: message.id, recipient: recipient,
          time: message.acceptedAt))
  }
}

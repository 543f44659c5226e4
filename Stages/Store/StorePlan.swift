import Mail
import Pipeline

/// What is to be done for one message, and what came of it.
struct StorePlan {
  /// A mailbox that gets the message, and for which of its recipients.
  struct Target {
    let mailbox: Mailbox
    /// Under which the mailbox will know it.
    let id: MessageID
    var recipients: [EmailAddress]
  }

  let message: Message
  private let isForSender: Bool
  private(set) var targets: [Target] = []
  /// Recipients without a mailbox.
  private(set) var unknown: [EmailAddress] = []
  /// What ended the work before anything was stored.
  var refusal: Outcome?
  var deliveries: [Delivery] = []
  var results: [DeliveryResult] = []

  /// - Parameter found: the addresses that the message is for, each with its mailbox, if it has one.
  init(
    _ message: Message, stage: String, found: [(address: EmailAddress, mailbox: Mailbox?)], isForSender: Bool
  ) {
    self.message = message
    self.isForSender = isForSender
    let mailboxes = Set(found.compactMap { $0.mailbox?.id })
    let isWhole = mailboxes.count == 1 && !found.contains { $0.mailbox == nil }
    for (address, mailbox) in found {
      guard let mailbox else {
        if !unknown.contains(where: { $0.normalized == address.normalized }) { unknown.append(address) }
        continue
      }
      if let index = targets.firstIndex(where: { $0.mailbox.id == mailbox.id }) {
        targets[index].recipients.append(address)
      } else {
        let id = isWhole ? message.id : message.id.part(mailbox.address.description, of: stage)
        targets.append(Target(mailbox: mailbox, id: id, recipients: [address]))
      }
    }
    if found.isEmpty {
      refusal = .reject(reason: "\(role).missing", message: "the envelope names no \(role) to store it for")
    } else if targets.isEmpty, unknown.count == 1 {
      refusal = noMailbox(unknown)
    }
  }

  private var role: String { isForSender ? "sender" : "recipient" }
  private var isWhole: Bool { targets.count == 1 && unknown.isEmpty }
  var mustStore: Bool { refusal == nil && !targets.isEmpty }

  func outcome(_ options: StoreStage.Options) -> Outcome {
    if let refusal { return refusal }
    guard isWhole, let target = targets.first else { return split() }
    switch results.first {
    case .stored(let stored), .repeated(let stored):
      var message = message
      for value in StoredCopy(mailbox: target.mailbox.address, stored).values {
        message.annotate(value.name, value.value)
      }
      return .forward(message)
    case .overQuota(let used, let quota):
      let text = "\(target.mailbox.address) uses \(used) of \(quota) bytes; raise the quota or make room, then replay"
      return options.retriesWhenFull ? .retry(reason: "quota", after: nil) : .reject(reason: "quota", message: text)
    case .noMailbox, nil: return noMailbox(target.recipients)
    }
  }

  /// Behind the stage if every mailbox has it; else each part alone here again.
  private func split() -> Outcome {
    var parts: [Part] = []
    var allStored = unknown.isEmpty && results.count == targets.count
    for (target, result) in zip(targets, results) {
      var attributes: [(name: String, value: String?)] = [(MailAttributes.rcptTo, Envelope.text(target.recipients))]
      switch result {
      case .stored(let stored), .repeated(let stored):
        attributes += StoredCopy(mailbox: target.mailbox.address, stored).values.map { ($0.name, $0.value) }
      case .overQuota, .noMailbox: allStored = false
      }
      let address = target.mailbox.address.description
      parts.append(Part(name: address, key: Bytes(address), attributes: attributes))
    }
    for recipient in unknown {
      let address = recipient.description
      parts.append(Part(name: address, key: Bytes(address), attributes: [(MailAttributes.rcptTo, address)]))
    }
    return .split(parts, allStored ? .behind : .again)
  }

  private func noMailbox(_ addresses: [EmailAddress]) -> Outcome {
    let names = addresses.prefix(10).map(\.description).joined(separator: " ")
    return .reject(reason: "\(role).unknown", message: "no such mailbox: \(names)")
  }
}

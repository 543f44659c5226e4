/// Turns the outcome of a stage into the records that it leaves behind. Pure: no clock, no I/O.
struct Disposer: Sendable {
  let topology: Topology
  let router: Router
  let flow: String
  /// Nil for a stage that was removed from the flow: what still waits in its topics is only forwarded.
  let stage: Topology.StageSettings?
  let name: StageName
  let topics: Topology.StageTopics
  let schedule: RetrySchedule

  /// The most parts that one message may become.
  static let maximumParts = 10_000

  init(topology: Topology, flow: String, stage: Topology.StageSettings, isRemoved: Bool = false) {
    self.topology = topology
    router = Router(topology)
    self.flow = flow
    self.stage = isRemoved ? nil : stage
    name = StageName(flow: flow, stage: stage.name)
    topics = topology.topics(flow, stage)
    schedule = RetrySchedule(delays: stage.retry, giveUp: stage.giveUp)
  }

  /// How the work went.
  struct Work: Sendable {
    let started: Timestamp
    let ended: Timestamp
    let queued: Timestamp
    var wait: Duration { max(.zero, started - queued) }
    var time: Duration { max(.zero, ended - started) }
  }

  /// The records that an outcome of `message`, which came in `record`, leaves behind.
  func outputs(of outcome: Outcome, _ message: Message, in record: Record, _ work: Work) -> [OutgoingRecord] {
    let attempt = message.failures + 1
    func event(_ kind: HistoryEvent.Kind, _ detail: String = "") -> HistoryEvent {
      HistoryEvent(
        at: work.ended, kind, stage: name.stage, attempt: attempt, wait: work.wait, work: work.time, detail: detail)
    }
    switch outcome {
    case .forward(let changed):
      var next = merged(message, changed)
      next.headers.reserve(192)
      next.markDone(name.stage)
      next.note(event(.done))
      return pass(next) + events(of: changed, at: work.ended)
    case .split(let parts, let continuation):
      return split(message, into: parts, continuation, in: record, event)
    case .route(let name, let changed):
      return route(name, merged(message, changed), in: record, event)
    case .drop(let reason):
      var next = message
      next.note(event(.dropped, reason))
      return [end(next)]
    case .retry(let reason, let after):
      return retry(message, reason: reason, text: reason, after: after, in: record, event)
    case .reject(let reason, let text):
      return [dead(message, reason: reason, text: text, in: record, event(.dead, reason))]
    }
  }

  /// The records that a failure leaves behind; a failure because a dependency is down has none and never comes here.
  func outputs(of error: StageError, _ message: Message, in record: Record, _ work: Work) -> [OutgoingRecord] {
    func event(_ kind: HistoryEvent.Kind, _ detail: String = "") -> HistoryEvent {
      HistoryEvent(
        at: work.ended, kind, stage: name.stage, attempt: message.failures + 1, wait: work.wait, work: work.time,
        detail: detail)
    }
    if error.kind == .permanent {
      return [dead(message, reason: error.reason, text: error.message, in: record, event(.dead, error.reason))]
    }
    return retry(message, reason: error.reason, text: error.message, after: nil, in: record, event)
  }

  /// The records of a message that does not belong here.
  func moved(_ message: Message, at now: Timestamp) -> [OutgoingRecord] {
    var next = message
    next.note(HistoryEvent(at: now, .moved, stage: name.stage))
    return pass(next)
  }

  /// The copy in the slow lane or in the topic of suspects.
  func aside(_ message: Message, _ kind: HistoryEvent.Kind, to topic: String, at now: Timestamp) -> [OutgoingRecord] {
    var next = message
    next.note(HistoryEvent(at: now, kind, stage: name.stage, attempt: message.failures + 1))
    return [MessageCodec.encode(next, topic: topic)]
  }

  /// The dead letter of a record that is not a message.
  func malformed(_ record: Record, reason: String, at now: Timestamp) -> OutgoingRecord {
    var headers = (try? record.headers()) ?? Headers()
    describeDeath(&headers, reason: "malformed", text: reason, attempts: 0, first: now, last: now, record)
    return OutgoingRecord(topic: topics.dead, key: record.key, headers: headers, value: .same(record))
  }

  // MARK: Parts

  /// What a stage may change: annotations, key and content. Id, flow and history stay the runtime's.
  private func merged(_ original: Message, _ changed: Message) -> Message {
    // The usual stage has changed nothing, or at least no header.
    if changed.id == original.id, changed.headers.isIdentical(to: original.headers) { return changed }
    var merged = Message(id: original.id, key: changed.key, content: changed.content, headers: changed.headers)
    for header in [HeaderName.done, HeaderName.skipped, HeaderName.history, HeaderName.flow, HeaderName.id] {
      if changed.headers.bytes(header) != original.headers.bytes(header) {
        merged.headers[header] = original.headers[header]
      }
    }
    return merged
  }

  /// What gateways are told. The id is derived from the message's, so that who reads it twice knows.
  private func events(of message: Message, at now: Timestamp) -> [OutgoingRecord] {
    message.announcements.enumerated().map { index, announcement in
      var headers = Headers()
      headers.append(HeaderName.id, message.id.part("event \(index)", of: name.stage).description.utf8)
      headers.append(HeaderName.type, announcement.type.utf8)
      headers.append(HeaderName.source, "\(topology.name)/\(name)".utf8)
      headers.append(HeaderName.specVersion, "1.0".utf8)
      headers.append(HeaderName.time, now.description.utf8)
      headers.append(HeaderName.contentType, "application/json".utf8)
      return OutgoingRecord(
        topic: topology.eventsTopic, partition: 0, key: announcement.key, headers: headers,
        value: .bytes(Bytes(announcement.content.bytes)))
    }
  }

  /// On to where it belongs, or its end.
  private func pass(_ message: consuming Message) -> [OutgoingRecord] {
    message.clearFailures()
    guard let topic = router.nextTopic(message) else { return [end(message)] }
    return [MessageCodec.encode(message, topic: topic)]
  }

  /// The timeline of a message that ended.
  private func end(_ message: Message) -> OutgoingRecord {
    OutgoingRecord(
      topic: topology.traceTopic, key: Bytes(message.id.description), headers: message.headers, value: .bytes(.empty))
  }

  private func split(
    _ message: Message, into parts: [Part], _ continuation: Outcome.Continuation, in record: Record,
    _ event: (HistoryEvent.Kind, String) -> HistoryEvent
  ) -> [OutgoingRecord] {
    guard parts.count <= Self.maximumParts else {
      let text = "\(parts.count) parts, \(Self.maximumParts) are allowed"
      return [dead(message, reason: "split.too-many", text: text, in: record, event(.dead, "split.too-many"))]
    }
    var outputs: [OutgoingRecord] = []
    for part in parts {
      var next = Message(
        id: message.id.part(part.name, of: name.stage), key: part.key, content: part.content ?? message.content,
        headers: message.headers)
      next.headers[HeaderName.id] = next.id.description
      next.headers[HeaderName.parent] = message.id.description
      for attribute in part.attributes { next.setAttribute(attribute.name, attribute.value) }
      next.note(event(.split, "part \(part.name) of \(message.id)"))
      switch continuation {
      case .behind:
        next.markDone(name.stage)
        next.note(event(.done, ""))
        outputs += pass(next)
      case .again:
        next.clearFailures()
        outputs.append(MessageCodec.encode(next, topic: topics.work))
      }
    }
    var whole = message
    whole.note(event(.split, "\(parts.count) parts"))
    outputs.append(end(whole))
    return outputs
  }

  private func route(
    _ outcome: String, _ message: Message, in record: Record, _ event: (HistoryEvent.Kind, String) -> HistoryEvent
  ) -> [OutgoingRecord] {
    var next = message
    switch stage?.on[outcome] {
    case nil:
      next.markDone(name.stage)
      next.note(event(.done, outcome))
      return pass(next)
    case .stage(let target):
      next.markDone(name.stage)
      for skipped in router.skipped(from: name.stage, to: target, in: flow) { next.markSkipped(skipped) }
      next.note(event(.done, "\(outcome) → \(target)"))
      return pass(next)
    case .flow(let target):
      var other = next
      other.headers[HeaderName.flow] = target
      other.headers[HeaderName.parent] = message.id.description
      for header in [HeaderName.done, HeaderName.skipped] { other.headers.remove(header) }
      let id = message.id.part("flow \(target)", of: name.stage)
      other = Message(id: id, key: message.key, content: message.content, headers: other.headers)
      other.headers[HeaderName.id] = id.description
      other.note(event(.accepted, "from flow \(flow), \(outcome)"))
      next.note(event(.done, "\(outcome) → flow \(target) as \(id)"))
      return pass(other) + [end(next)]
    case .deadLetter:
      return [dead(next, reason: outcome, text: "outcome \(outcome)", in: record, event(.dead, outcome))]
    case .drop:
      next.note(event(.dropped, outcome))
      return [end(next)]
    case .bounce:
      // Kept, rather than lost, until a flow makes bounces: the checker refuses such a topology.
      return [dead(next, reason: "bounce.\(outcome)", text: "no bounce flow", in: record, event(.dead, outcome))]
    }
  }

  private func retry(
    _ message: Message, reason: String, text: String, after: Duration?, in record: Record,
    _ event: (HistoryEvent.Kind, String) -> HistoryEvent
  ) -> [OutgoingRecord] {
    var next = message
    let failures = message.failures + 1
    let spent = Duration.milliseconds(message.headers.int(HeaderName.spent) ?? 0)
    let now = event(.retry, reason)
    next.headers[HeaderName.failures] = String(failures)
    if next.headers.bytes(HeaderName.firstFailure) == nil {
      next.headers[HeaderName.firstFailure] = String(now.at.milliseconds)
    }
    switch schedule.decide(failures: failures, spent: spent, after: after) {
    case .giveUp:
      let dead = event(.dead, reason)
      return [self.dead(next, reason: reason, text: text, in: record, dead)]
    case .again(let index, let delay):
      next.headers[HeaderName.spent] = String((spent + delay).milliseconds)
      next.headers[HeaderName.due] = String((now.at + delay).milliseconds)
      next.note(now)
      return [MessageCodec.encode(next, topic: topics.retry[index].topic)]
    }
  }

  private func dead(
    _ message: Message, reason: String, text: String, in record: Record, _ event: HistoryEvent
  ) -> OutgoingRecord {
    var next = message
    next.note(event)
    let first = next.headers.int(HeaderName.firstFailure).map { Timestamp(milliseconds: Int64($0)) } ?? event.at
    describeDeath(
      &next.headers, reason: reason, text: text, attempts: max(1, next.failures), first: first, last: event.at, record)
    // Byte for byte what came in, whatever the stage made of it.
    next.content = message.content
    return MessageCodec.encode(next, topic: topics.dead)
  }

  private func describeDeath(
    _ headers: inout Headers, reason: String, text: String, attempts: Int, first: Timestamp, last: Timestamp,
    _ record: Record
  ) {
    headers[HeaderName.deadStage] = name.stage
    headers[HeaderName.deadFrom] =
      "\(record.topicPartition.topic) \(record.topicPartition.partition) \(record.offset)"
    headers[HeaderName.deadReason] = String(decoding: reason.utf8.prefix(200), as: UTF8.self)
    headers[HeaderName.deadMessage] = String(decoding: text.utf8.prefix(1024), as: UTF8.self)
    headers[HeaderName.deadAttempts] = String(attempts)
    headers[HeaderName.deadFirst] = String(first.milliseconds)
    headers[HeaderName.deadLast] = String(last.milliseconds)
  }
}

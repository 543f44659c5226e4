/// Where a source hands messages in: makes them durable in the topic of the first stage of its flow.
public struct Intake: Sendable {
  private let topology: Topology
  private let flow: Topology.Flow
  private let firstTopic: String
  private let broker: any Broker
  private let clock: any PipelineClock
  private let random: any RandomSource
  private let contentStore: (any ContentStore)?
  private let beforeAccept: BeforeAccept?
  private let inlineLimit: Int

  /// The intake of the flow that `source` feeds; nil if there is none.
  ///
  /// - Parameters:
  ///   - beforeAccept: what `offer` asks first; nil: nothing.
  ///   - inlineLimit: content beyond this many bytes goes to the content store, and the record carries a reference.
  public init?(
    source: String, topology: Topology, broker: any Broker, clock: any PipelineClock, random: any RandomSource,
    contentStore: (any ContentStore)?, beforeAccept: BeforeAccept? = nil, inlineLimit: Int = 256 * 1024
  ) {
    guard let flow = topology.flows.first(where: { $0.sources.contains(source) }), let first = flow.stages.first else {
      return nil
    }
    self.topology = topology
    self.flow = flow
    firstTopic = topology.topics(flow.name, first).work
    self.broker = broker
    self.clock = clock
    self.random = random
    self.contentStore = contentStore
    self.beforeAccept = beforeAccept
    self.inlineLimit = inlineLimit
  }

  /// A new id, for a source that has to name the message before it is accepted (a trace header).
  public func newID() -> MessageID { MessageID(at: clock.now, random: random) }

  /// Makes a message durable, and returns its id then.
  ///
  /// - Throws: `BrokerError`: `.unavailable` or `.storageFull`, nothing was accepted; any other: it must be taken as
  ///   not accepted, though it may have been.
  @discardableResult
  public func accept(
    id: MessageID? = nil, content: Bytes, contentType: String, source: String,
    attributes: [(name: String, value: String)], annotations: [(name: String, value: String?)] = []
  ) async throws(BrokerError) -> MessageID {
    let id = id ?? newID()
    var message = Message(
      id: id, flow: flow.name, source: source, contentType: contentType,
      content: try await carried(content), attributes: attributes, traceParent: TraceParent(random: random))
    for (name, value) in annotations { message.annotate(name, value) }
    message.note(HistoryEvent(at: clock.now, .accepted, detail: source))
    try await broker.produce([MessageCodec.encode(message, topic: firstTopic)])
    return id
  }

  /// What became of a message that was offered.
  public enum Reply: Sendable, Hashable {
    /// It is durable.
    case accepted(MessageID)
    /// A stage of the flow rejects it for good (`before-accept`): nothing was accepted.
    case refused(stage: StageName, reason: String, message: String)
  }

  /// Makes a message durable unless a stage that the flow tries before accepting rejects it. For the errors see `accept`.
  ///
  /// Takes as long as these stages, but seconds at most; what they do not decide by then is accepted.
  public func offer(
    id: MessageID? = nil, content: Bytes, contentType: String, source: String,
    attributes: [(name: String, value: String)], annotations: [(name: String, value: String?)] = []
  ) async throws(BrokerError) -> Reply {
    let id = id ?? newID()
    if let beforeAccept {
      var message = Message(
        id: id, flow: flow.name, source: source, contentType: contentType, content: Content(content),
        attributes: attributes, traceParent: TraceParent(random: random))
      for (name, value) in annotations { message.annotate(name, value) }
      if case .rejected(let stage, let reason, let text) = await beforeAccept.judge(message) {
        return .refused(stage: stage, reason: reason, message: text)
      }
      if Task.isCancelled { throw BrokerError(.cancelled, "the task was cancelled") }
    }
    return .accepted(
      try await accept(
        id: id, content: content, contentType: contentType, source: source, attributes: attributes,
        annotations: annotations))
  }

  private func carried(_ content: Bytes) async throws(BrokerError) -> Content {
    guard content.count > inlineLimit, let contentStore else { return Content(content) }
    do { return Content(.reference(try await contentStore.put(content), contentStore)) } catch {
      if let error = error as? BrokerError { throw error }
      throw BrokerError(.unavailable, "the content store refused: \(error)")
    }
  }
}

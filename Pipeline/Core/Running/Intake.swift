/// Where a source hands messages in: makes them durable in the topic of the first stage of its flow.
public struct Intake: Sendable {
  private let topology: Topology
  private let flow: Topology.Flow
  private let firstTopic: String
  private let broker: any Broker
  private let clock: any PipelineClock
  private let random: any RandomSource
  private let contentStore: (any ContentStore)?
  private let inlineLimit: Int

  /// The intake of the flow that `source` feeds; nil if there is none.
  ///
  /// - Parameter inlineLimit: content beyond this many bytes goes to the content store, and the record carries a
  ///   reference.
  public init?(
    source: String, topology: Topology, broker: any Broker, clock: any PipelineClock, random: any RandomSource,
    contentStore: (any ContentStore)?, inlineLimit: Int = 256 * 1024
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

  private func carried(_ content: Bytes) async throws(BrokerError) -> Content {
    guard content.count > inlineLimit, let contentStore else { return Content(content) }
    do { return Content(.reference(try await contentStore.put(content), contentStore)) } catch {
      if let error = error as? BrokerError { throw error }
      throw BrokerError(.unavailable, "the content store refused: \(error)")
    }
  }
}

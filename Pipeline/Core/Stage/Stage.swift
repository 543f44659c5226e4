/// A step of a flow: takes a message, returns one outcome.
///
/// A message may come more than once (after a crash, a time-out, a replay): whatever a stage does outside the pipeline
/// it does under the message's id, so that a repeat changes nothing. A stage is one value for all messages; up to
/// `concurrency` of them are in `process` at the same time.
///
/// ```swift
/// struct Greeting: Stage {
///   func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
///     var message = message
///     message.annotate("greeting", "hello")
///     return .forward(message)
///   }
/// }
/// ```
public protocol Stage: Sendable {
  /// Works on one message. Ends soon after the task is cancelled (`context.deadline`), or takes its worker along.
  ///
  /// - Throws: anything; see `StageError` for how errors are classified.
  func process(_ message: Message, _ context: StageContext) async throws -> Outcome

  /// Whether what the stage needs outside answers. Asked by `check --connect` and while the circuit is open.
  func probe() async throws
}

extension Stage {
  /// Needs nothing outside.
  public func probe() async throws {}
}

/// A stage that works on many messages at once, because that is cheaper: one commit, one bulk request.
public protocol BatchStage: Sendable {
  /// Works on a batch and returns an outcome for each message, in order.
  ///
  /// - Throws: an error that concerns the whole batch: each message counts as failed with it.
  func process(_ batch: [Message], _ context: StageContext) async throws -> [Outcome]

  /// See `Stage.probe`.
  func probe() async throws
}

extension BatchStage {
  /// Needs nothing outside.
  public func probe() async throws {}
}

/// What becomes of a message after a stage.
public enum Outcome: Sendable {
  /// Goes on to the next stage, as it is given here: annotations may have changed, content may have been replaced.
  case forward(Message)
  /// Goes on in parts, whose ids are derived from the whole's.
  case split([Part], Continuation)
  /// A named outcome (`spam`, `infected`): the topology says where it leads. With nothing said there it goes forward.
  case route(String, Message)
  /// Ends here, on purpose.
  case drop(reason: String)
  /// Try again later; `after` at the earliest if given, else the stage's schedule.
  case retry(reason: String, after: Duration?)
  /// Can never succeed: a dead letter, with a reason code such as `virus.Eicar` and a text of at most 1 KiB.
  case reject(reason: String, message: String)

  /// Where the parts of a split go on.
  public enum Continuation: Sendable {
    /// Behind the stage.
    case behind
    /// In the stage again, each with its own retries.
    case again
  }
}

/// A part that a stage makes of a message.
public struct Part: Sendable {
  /// Unique among the parts of one message, the same at every repeat: its id is derived from it.
  public let name: String
  /// What must stay in order with others of the same key.
  public let key: Bytes
  /// Attributes to be set or (nil) removed; the others are the whole's.
  public let attributes: [(name: String, value: String?)]
  /// Its content; nil is the whole's.
  public let content: Content?

  /// A part of a message.
  public init(name: String, key: Bytes, attributes: [(name: String, value: String?)] = [], content: Content? = nil) {
    self.name = name
    self.key = key
    self.attributes = attributes
    self.content = content
  }
}

/// What a stage is told beside the message.
public struct StageContext: Sendable {
  private final class Shared: Sendable {
    let stage: StageName
    let clock: any PipelineClock
    let log: Log
    let metrics: Metrics
    let random: any RandomSource

    init(
      _ stage: StageName, _ clock: any PipelineClock, _ log: Log, _ metrics: Metrics, _ random: any RandomSource
    ) {
      self.random = random
      self.stage = stage
      self.clock = clock
      self.log = log
      self.metrics = metrics
    }
  }
  // One for all messages of a stage.
  private let shared: Shared

  /// The flow and stage that run.
  public var stage: StageName { shared.stage }
  /// The time, as tests and simulations see it too.
  public var clock: any PipelineClock { shared.clock }
  /// When the message (the batch) counts as timed out, and the task is cancelled.
  public private(set) var deadline: Timestamp
  /// Where to log to; lines carry the stage.
  public var log: Log { shared.log }
  /// Where to count.
  public var metrics: Metrics { shared.metrics }

  /// For runtimes and test harnesses.
  public init(
    stage: StageName, clock: any PipelineClock, deadline: Timestamp, log: Log, metrics: Metrics,
    random: any RandomSource = SystemRandom()
  ) {
    shared = Shared(stage, clock, log, metrics, random)
    self.deadline = deadline
  }

  /// Where to log what is about one message: lines carry its id and its trace.
  public func log(of message: Message) -> Log {
    let log = log.with(("id", message.id.description))
    return message.traceParent.map { log.with(("trace", $0.traceID)) } ?? log
  }

  /// Does a part of the work under a span of its own in the message's trace.
  ///
  /// `body` gets the `traceparent` to hand on to whatever it calls (W3C Trace Context). How often and how long is counted
  /// in microseconds by stage and name, and each time is logged at debug level.
  public func span<R>(
    _ name: String, of message: Message, _ body: (TraceParent) async throws -> R
  ) async rethrows -> R {
    let parent = message.traceParent ?? TraceParent(random: shared.random)
    let span = parent.child(random: shared.random)
    let began = clock.now
    defer {
      let spent = (clock.now - began).microseconds
      let labels = "{stage=\"\(stage)\",span=\"\(name)\"}"
      metrics.add("mailflow_spans_total\(labels)")
      metrics.add("mailflow_span_microseconds_total\(labels)", Int(clamping: spent))
      log(of: message).write(.debug, "span", ("span", name), ("traceparent", "\(span)"), ("microseconds", "\(spent)"))
    }
    return try await body(span)
  }

  /// The same with another deadline.
  func until(_ deadline: Timestamp) -> StageContext {
    var context = self
    context.deadline = deadline
    return context
  }
}

/// A stage within a flow: its identity, wherever in the flow it stands.
public struct StageName: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// The flow.
  public let flow: String
  /// The stage's name in it.
  public let stage: String

  /// Stage `stage` of `flow`.
  public init(flow: String, stage: String) {
    self.flow = flow
    self.stage = stage
  }
  /// By flow, then by stage.
  public static func < (left: StageName, right: StageName) -> Bool {
    left.flow != right.flow ? left.flow < right.flow : left.stage < right.stage
  }
  /// `flow.stage`.
  public var description: String { "\(flow).\(stage)" }
}

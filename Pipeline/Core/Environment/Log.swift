/// Writes log lines: one JSON object each, for machines, with the fields that lead back to a message.
public struct Log: Sendable {
  /// How important a line is.
  public enum Level: String, Sendable, Comparable {
    /// For developers.
    case debug
    /// What happened.
    case info
    /// What an operator should look at.
    case warning
    /// What an operator has to mend.
    case error

    private var rank: Int {
      switch self {
      case .debug: 0
      case .info: 1
      case .warning: 2
      case .error: 3
      }
    }
    /// The less important one first.
    public static func < (left: Level, right: Level) -> Bool { left.rank < right.rank }
  }

  /// A line as it is handed to the sink.
  public struct Line: Sendable {
    /// When.
    public let at: Timestamp
    /// How important.
    public let level: Level
    /// What happened, a constant text.
    public let message: String
    /// What is particular, in order.
    public let fields: [(name: String, value: String)]
  }

  private let clock: any PipelineClock
  private let minimum: Level
  private let context: [(name: String, value: String)]
  private let sink: @Sendable (Line) -> Void

  /// A log that hands lines of `minimum` and above to `sink`, which may be called from any thread.
  public init(clock: any PipelineClock, minimum: Level = .info, sink: @escaping @Sendable (Line) -> Void) {
    self.clock = clock
    self.minimum = minimum
    context = []
    self.sink = sink
  }

  private init(_ log: Log, context: [(name: String, value: String)]) {
    clock = log.clock
    minimum = log.minimum
    self.context = context
    sink = log.sink
  }

  /// The same log with more fields on every line.
  public func with(_ fields: (name: String, value: String)...) -> Log { Log(self, context: context + fields) }

  /// Writes a line.
  public func write(_ level: Level, _ message: String, _ fields: (name: String, value: String)...) {
    guard level >= minimum else { return }
    sink(Line(at: clock.now, level: level, message: message, fields: context + fields))
  }
}

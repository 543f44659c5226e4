extension StageRunner {
  /// What a runner needs beside its stage.
  public struct Environment: Sendable {
    /// Where topics live.
    public var broker: any Broker
    /// The time.
    public var clock: any PipelineClock
    /// Where to log to.
    public var log: Log
    /// Where to count.
    public var metrics: Metrics
    /// Where large content is kept.
    public var contentStore: (any ContentStore)?
    /// Where stages run; nil: where the runner does.
    public var stageExecutor: (any TaskExecutor)?
    /// Notes what is in hand, for the case that this process dies.
    public var journal: (any InHandJournal)?
    /// This process's name among the members of each group; the same after a restart.
    public var instance: String
    /// Where the ids of spans come from.
    public var random: any RandomSource = SystemRandom()
    /// Told whenever the state of the stage changes.
    public var stateChanged: @Sendable (StageName, StageState) -> Void

    /// What a runner needs.
    public init(
      broker: any Broker, clock: any PipelineClock, log: Log, metrics: Metrics = Metrics(),
      contentStore: (any ContentStore)? = nil, stageExecutor: (any TaskExecutor)? = nil,
      journal: (any InHandJournal)? = nil, instance: String,
      stateChanged: @escaping @Sendable (StageName, StageState) -> Void = { _, _ in }
    ) {
      self.broker = broker
      self.clock = clock
      self.log = log
      self.metrics = metrics
      self.contentStore = contentStore
      self.stageExecutor = stageExecutor
      self.journal = journal
      self.instance = instance
      self.stateChanged = stateChanged
    }
  }

  /// How a stage is fed.
  public enum Mode: Sendable {
    /// The work, slow and retry topics. Messages of `suspects` are put aside, untouched, to be tried alone.
    case normal(suspects: Set<MessageID>)
    /// The topic of suspects: one message at a time, and nothing else in this process meanwhile. `strikes` says what each
    /// has done before; see `Strikes`.
    case alone(strikes: [MessageID: Int], gate: Gate)
    /// A stage that is not in its flow any more: what waits in its topics goes to where it belongs.
    case removed
  }

  /// What is held against a suspect. Most are innocent, and must not wait for those that hang: the first try is short,
  /// and who does not end within it goes to the end of the line.
  public enum Strikes {
    /// It did not end within the short first try, and took its process with it.
    public static let hung = 1
    /// It took its process down, or ran past the stage's whole time and took it with it.
    public static let crashed = 2
    /// It did so twice: a dead letter.
    public static let dead = 3
  }
}

/// What a deployment can put into a flow: every stage under its name, with its options and how to make it.
///
/// ```swift
/// registry.register("greeting", "Greets every message.", options: Greeting.Options.self) { options, _ in
///   .one(Greeting(options))
/// }
/// ```
public struct StageRegistry: Sendable {
  /// One kind of stage.
  public struct Entry: Sendable {
    /// Its name in `use:`, or as the stage's own name.
    public let name: String
    /// One line for `mailflow stages`.
    public let summary: String
    /// The named outcomes that it may return with `.route`.
    public let outcomes: [String]
    /// Whether it reads content; one that does not is spared the loading.
    public let readsContent: Bool
    /// Whether it only judges: whatever becomes of a message that it has seen, nothing is left behind outside the
    /// pipeline. Such stages may also be tried before a message is accepted (`before-accept`).
    public let onlyJudges: Bool
    /// Its options, for parsing, checking, help and JSON Schema.
    public let options: OptionSchema
    /// Whether it reads or writes the data folder, which only one machine has; `options` were checked against the schema.
    public let needsDataFolder: @Sendable (OptionValues) -> Bool
    /// Makes the stage; `options` were checked against the schema.
    public let make: @Sendable (OptionValues, StageSetup) throws -> AnyStage
  }

  /// Registered stages by name, in order of registration.
  public private(set) var entries: [Entry] = []

  /// No stage yet.
  public init() {}

  /// Adds a stage; a later one of the same name replaces an earlier one.
  public mutating func register<Options: StageOptions>(
    _ name: String, _ summary: String, options: Options.Type, outcomes: [String] = [], readsContent: Bool = true,
    onlyJudges: Bool = false, needsDataFolder: @escaping @Sendable (Options) -> Bool = { _ in false },
    make: @escaping @Sendable (Options, StageSetup) throws -> AnyStage
  ) {
    entries.removeAll { $0.name == name }
    entries.append(
      Entry(
        name: name, summary: summary, outcomes: outcomes, readsContent: readsContent, onlyJudges: onlyJudges,
        options: Options.schema,
        needsDataFolder: { (try? Options($0)).map(needsDataFolder) ?? false },
        make: { values, setup in try make(Options(values), setup) }))
  }

  /// The stage of that name.
  public subscript(name: String) -> Entry? { entries.first { $0.name == name } }
}

/// A stage of either kind.
public enum AnyStage: Sendable {
  /// One message at a time.
  case one(any Stage)
  /// Up to `limit` messages at a time.
  case batch(any BatchStage, limit: Int)
}

/// What a stage is given when it is made.
public struct StageSetup: Sendable {
  /// Which stage of which flow it is.
  public let name: StageName
  /// The data folder of this node.
  public let dataFolder: String
  /// The time.
  public let clock: any PipelineClock
  /// Random bits.
  public let random: any RandomSource
  /// Where large content is kept.
  public let contentStore: (any ContentStore)?

  /// For runtimes and test harnesses.
  public init(
    name: StageName, dataFolder: String, clock: any PipelineClock, random: any RandomSource,
    contentStore: (any ContentStore)?
  ) {
    self.name = name
    self.dataFolder = dataFolder
    self.clock = clock
    self.random = random
    self.contentStore = contentStore
  }
}

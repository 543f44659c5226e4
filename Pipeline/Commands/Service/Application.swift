import Glibc
public import Pipeline

/// What an application adds to the framework: its words, its gateways, its own commands.
public struct Application: Sendable {
  /// The program's name.
  public var name: String
  /// One sentence.
  public var summary: String
  /// What `--version` prints.
  public var version: String
  /// Stages, gateways and sections of the topology.
  public var vocabulary: Vocabulary
  /// The stages of a deployment, opened on its stores, large content in what `openContentStore` made; `vocabulary` alone
  /// is only good for checking.
  public var stages: @Sendable (Topology, DataFolder, (any ContentStore)?) throws -> StageRegistry
  /// Opens the broker that a topology names; what happens in it by itself goes to the log.
  public var openBroker: @Sendable (Topology, DataFolder, any PipelineClock, Log) async throws -> any Broker
  /// Makes what stages get as `StageSetup.contentStore`; nil: content never goes by reference.
  public var openContentStore: @Sendable (Topology, DataFolder) throws -> (any ContentStore)?
  /// Makes the gateways of a topology; nothing listens yet.
  public var makeGateways: @Sendable (GatewayContext) async throws -> [any GatewayService]
  /// Commands beside the framework's, for the application as it is in the end.
  public var commands: @Sendable (Application) -> [Command]

  /// What an application adds.
  public init(
    name: String, summary: String, version: String, vocabulary: Vocabulary,
    stages: @escaping @Sendable (Topology, DataFolder, (any ContentStore)?) throws -> StageRegistry,
    openBroker: @escaping @Sendable (Topology, DataFolder, any PipelineClock, Log) async throws -> any Broker,
    openContentStore: @escaping @Sendable (Topology, DataFolder) throws -> (any ContentStore)? = { _, _ in nil },
    makeGateways: @escaping @Sendable (GatewayContext) async throws -> [any GatewayService] = { _ in [] },
    commands: @escaping @Sendable (Application) -> [Command] = { _ in [] }
  ) {
    self.name = name
    self.summary = summary
    self.version = version
    self.vocabulary = vocabulary
    self.stages = stages
    self.openBroker = openBroker
    self.openContentStore = openContentStore
    self.makeGateways = makeGateways
    self.commands = commands
  }
}

extension Application {
  /// Opens the broker of a deployment for a command.
  func openBroker(_ topology: Topology, _ folder: DataFolder) async throws -> any Broker {
    try await openBroker(topology, folder, SystemClock.shared, ServiceLog.log(process: "command"))
  }
}

/// What gateways are made from.
public struct GatewayContext: Sendable {
  /// The topology in force.
  public let topology: Topology
  /// What of it runs here.
  public let part: DeploymentPart
  /// The data folder.
  public let folder: DataFolder
  /// Where topics live.
  public let broker: any Broker
  /// Where large content is kept.
  public let contentStore: (any ContentStore)?
  /// The time.
  public let clock: any PipelineClock
  /// Where to log to.
  public let log: Log
  /// The stages of the deployment, for what is tried before accepting.
  let stages: @Sendable () throws -> StageRegistry
  /// Notes what these have in hand.
  let journal: InHandFile

  /// How the stages are doing, as the supervisor last heard: flow, stage, state, reason.
  public func stageStates() -> [(stage: StageName, state: String, reason: String)] {
    (DataFolder.read(folder.status) ?? "").split(separator: "\n").compactMap { line in
      let words = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard words.count == 4 else { return nil }
      return (StageName(flow: words[0], stage: words[1]), words[2], words[3])
    }
  }
}

/// A gateway of this process.
public protocol GatewayService: Sendable {
  /// Its name in the topology.
  var name: String { get }
  /// Begins to listen, and returns the addresses with the ports that were taken, by the option that says where.
  ///
  /// - Throws: an error whose text says which address cannot be listened on, and why.
  func start() async throws -> [(option: String, address: String)]
  /// Accepts nothing more, says goodbye to whoever is connected, and returns when all sessions have ended, or at the
  /// deadline.
  func drain(deadline: Duration) async
}

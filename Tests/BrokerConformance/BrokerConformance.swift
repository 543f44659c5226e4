public import Pipeline

/// What every broker has to do, as a list of cases. Each engine's tests run all of them.
public enum BrokerConformance {
  /// What an engine can do. A case that needs something else does not run.
  public struct Features: Sendable {
    /// Outputs and progress become visible together, also where the broker has to find out that somebody else has the
    /// name. (What a member itself knows to have lost it never settles.)
    public var exactlyOnce = true
    /// A second broker on the same topics, as another process would have it.
    public var secondInstance = true
    /// Whoever joins under a name replaces the one before.
    public var namedMembers = true
    /// `Membership.revokeDeadline` is kept to the millisecond, so that a case may choose a short one.
    public var shortDeadlines = true
    /// A change of the group takes from a member only what another one gets. (Kafka's `range` takes everything.)
    public var incrementalRevocation = true
    /// Offsets by time.
    public var offsetsByTime = true
    /// Topics can be deleted.
    public var deletion = true
    /// The most bytes of a value that the engine is set up for.
    public var largestValue = 1 << 20
    /// How long to wait for something that must happen.
    public var patience = Duration.seconds(20)

    /// Everything.
    public init() {}
  }

  /// One thing that a broker has to do.
  public struct Case: Sendable, CustomStringConvertible {
    /// What it is.
    public let description: String
    let needs: @Sendable (Features) -> Bool
    let body: @Sendable (Bench) async throws -> Void

    init(
      _ description: String, needs: @escaping @Sendable (Features) -> Bool = { _ in true },
      _ body: @escaping @Sendable (Bench) async throws -> Void
    ) {
      self.description = description
      self.needs = needs
      self.body = body
    }

    /// Whether an engine with these features has to pass it.
    public func applies(to features: Features) -> Bool { needs(features) }

    /// Runs the case on a broker that is closed at the end.
    ///
    /// - Parameters:
    ///   - features: what the engine can do, and how long it may take.
    ///   - clock: bounds every wait.
    ///   - broker: makes the broker; it may hold topics of other runs.
    ///   - another: makes a second one on the same topics.
    public func run(
      _ features: Features, clock: any PipelineClock, broker: @escaping @Sendable () async throws -> any Broker,
      another: @escaping @Sendable (any Broker) async throws -> any Broker
    ) async throws {
      let first = try await broker()
      let bench = Bench(broker: first, features: features, clock: clock, another: another)
      do { try await body(bench) } catch {
        await first.close()
        throw error
      }
      await first.close()
    }
  }

  /// All cases.
  public static let cases: [Case] =
    recordCases + readCases + groupCases + settleCases + fencingCases + lifeCases + loadCases
}

/// What a case found to be otherwise.
public struct ConformanceFailure: Error, CustomStringConvertible {
  /// What was expected, and what was found.
  public let description: String
}

/// An error that says what the runtime should make of it. Anything else that a stage throws counts as transient.
///
/// Three readers: the runtime decides by `kind`, the operator reads `message`, and `reason` groups dead letters.
public struct StageError: Error, Sendable, CustomStringConvertible {
  /// What the runtime makes of it.
  public enum Kind: Sendable, Hashable {
    /// Never succeeds: a dead letter at once.
    case permanent
    /// May succeed later: the next retry topic.
    case transient
    /// What the stage needs is away: the stage's circuit opens, and no attempt is spent.
    case dependencyDown(String)
  }

  /// What the runtime makes of it.
  public let kind: Kind
  /// A short code, such as `syntax.header`.
  public let reason: String
  /// What happened, for the operator.
  public let message: String

  /// An error with its class.
  public init(_ kind: Kind, reason: String, message: String) {
    self.kind = kind
    self.reason = reason
    self.message = message
  }

  /// Never succeeds.
  public static func permanent(_ reason: String, _ message: String) -> StageError {
    StageError(.permanent, reason: reason, message: message)
  }
  /// May succeed later.
  public static func transient(_ reason: String, _ message: String) -> StageError {
    StageError(.transient, reason: reason, message: message)
  }
  /// `dependency` is away.
  public static func dependencyDown(_ dependency: String, _ message: String) -> StageError {
    StageError(.dependencyDown(dependency), reason: "\(dependency).down", message: message)
  }

  /// Classifies whatever a stage threw.
  public static func classify(_ error: any Error) -> StageError {
    switch error {
    case let error as StageError: error
    case let error as BrokerError where error.isTransient: .dependencyDown("broker", error.description)
    default: .transient("error.\(type(of: error))", String(describing: error))
    }
  }

  /// The reason and the message.
  public var description: String { "\(reason): \(message)" }
}

/// What a broker refuses, and why.
public struct BrokerError: Error, Sendable, CustomStringConvertible {
  /// What a caller can decide on.
  public enum Kind: String, Sendable {
    /// It cannot be reached or does not answer: try again later. Nothing happened.
    case unavailable
    /// No room, or below the reserve: nothing happened. Consuming and settling go on as long as they can.
    case storageFull
    /// The caller no longer owns what it wanted to settle: nothing happened, and it never will.
    case fenced
    /// It is not known whether it happened.
    case unknownResult
    /// No such topic or partition.
    case unknownTopic
    /// A topic exists, but is not as it should be.
    case mismatch
    /// A setting of the engine is wrong.
    case badSetting
    /// The offset is not there (any more).
    case outOfRange
    /// Stored bytes are damaged. They are never served.
    case corrupt
    /// A record or a batch is beyond a limit.
    case tooLarge
    /// The data was written by a newer version.
    case newerVersion
    /// Not allowed to.
    case notPermitted
    /// Another process has it.
    case locked
    /// The task was cancelled while waiting.
    case cancelled
    /// The broker or the consumer was closed.
    case closed
    /// Something else of the engine.
    case other
  }

  /// What a caller can decide on.
  public let kind: Kind
  /// What happened, where.
  public let message: String
  /// What to do about it, if that is known.
  public let hint: String?

  /// What a broker refuses.
  public init(_ kind: Kind, _ message: String, hint: String? = nil) {
    self.kind = kind
    self.message = message
    self.hint = hint
  }

  /// Whether trying again later may help.
  public var isTransient: Bool { kind == .unavailable || kind == .storageFull || kind == .locked }
  /// The message, and the hint behind it.
  public var description: String { hint.map { "\(message) (\($0))" } ?? message }
}

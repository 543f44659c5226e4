/// What a request may be at most, and how long it may take.
public struct HTTPLimits: Sendable {
  /// Bytes of the request line and the fields.
  public var head = 16_384
  /// Fields.
  public var fields = 100
  /// Bytes of a body; a handler that reads it as it comes may allow more.
  public var body = 1 << 20
  /// From the first byte of a head to its end.
  public var headTime = Duration.seconds(10)
  /// That the client may take for a body, beside what its bytes need at `bodyRate`.
  public var bodyTime = Duration.seconds(60)
  /// Bytes a second that a body has to come at, once `bodyTime` is used up; 0: it has to come within that.
  public var bodyRate = 0
  /// Between two requests.
  public var idleTime = Duration.seconds(60)
  /// For the client to take the next part of an answer.
  public var writeTime = Duration.seconds(60)
  /// Refuses a client's connections beyond so many; nil refuses none.
  public var clients: ClientCounter?
  /// The defaults.
  public init() {}
}

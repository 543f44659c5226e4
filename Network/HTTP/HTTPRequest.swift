/// A request as a handler sees it: complete, bounded, and read in the only way that its bytes allow.
public struct HTTPRequest: Sendable, Equatable {
  /// `GET`, `HEAD`, … as it was written.
  public var method: String
  /// The path, percent-decoded: begins with `/`, has no `.` or `..` segments, no NUL and no encoded `/`.
  public var path: String
  /// The pairs of the query in order, percent-decoded, `+` as a space.
  public var query: [(name: String, value: String)]
  /// The fields in order, names as they were written.
  public var fields: [(name: String, value: String)]
  /// The whole body.
  public var body: [UInt8]
  /// Whether the connection may be used again (RFC 9112 section 9.3).
  public var keepsAlive: Bool

  /// The value of the first field of that name, whatever its case.
  public func field(_ name: String) -> String? {
    let wanted = name.lowercased()
    return fields.first { $0.name.lowercased() == wanted }?.value
  }

  /// The first value of a query parameter.
  public func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }

  /// Equal in everything.
  public static func == (left: HTTPRequest, right: HTTPRequest) -> Bool {
    left.method == right.method && left.path == right.path && left.body == right.body
      && left.keepsAlive == right.keepsAlive
      && left.query.elementsEqual(right.query) { $0 == $1 } && left.fields.elementsEqual(right.fields) { $0 == $1 }
  }
}

/// What a handler answers.
public struct HTTPResponse: Sendable {
  /// What is sent behind the head. More kinds (files, streams, upgrades) have room here.
  public enum Body: Sendable {
    /// These bytes, whole.
    case bytes([UInt8])
  }

  /// 100 to 599.
  public var status: Int
  /// In order; `Content-Length`, `Date` and `Connection` are the server's.
  public var fields: [(name: String, value: String)]
  /// What is sent behind the head.
  public var body: Body

  /// An answer.
  public init(_ status: Int, fields: [(name: String, value: String)] = [], body: [UInt8] = []) {
    self.status = status
    self.fields = fields
    self.body = .bytes(body)
  }

  /// A text, mostly for what the server itself refuses.
  public static func text(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status, fields: [("Content-Type", "text/plain; charset=utf-8")], body: Array("\(text)\n".utf8))
  }
}

/// Answers requests. Runs on the connection's loop: it may await anything and must not block.
public typealias HTTPHandler = @Sendable (HTTPRequest) async -> HTTPResponse

/// What a request may be at most, and how long it may take.
public struct HTTPLimits: Sendable {
  /// Bytes of the request line and the fields.
  public var head = 16_384
  /// Fields.
  public var fields = 100
  /// Bytes of a body.
  public var body = 1 << 20
  /// From the first byte of a head to its end.
  public var headTime = Duration.seconds(10)
  /// From the end of the head to the end of the body.
  public var bodyTime = Duration.seconds(60)
  /// Between two requests.
  public var idleTime = Duration.seconds(60)
  /// For the client to take the next part of an answer.
  public var writeTime = Duration.seconds(60)
  /// Refuses a client's connections beyond so many; nil refuses none.
  public var clients: ClientCounter?
  /// The defaults.
  public init() {}
}

/// A request that is refused before a handler sees it. The connection is closed: where it ends cannot be trusted.
public struct HTTPError: Error, Sendable, Equatable {
  /// 400 to 599.
  public let status: Int
  /// For the client.
  public let reason: String

  init(_ status: Int, _ reason: String) {
    self.status = status
    self.reason = reason
  }
}

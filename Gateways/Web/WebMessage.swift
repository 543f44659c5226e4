import Network
public import Pipeline

/// A request as the REST interface sees it: what is left when HTTP has been read.
public struct WebRequest: Sendable {
  /// `GET`, as it was sent.
  public var method: String
  /// The path, percent-decoded; begins with `/`.
  public var path: String
  /// The pairs of the query in order, percent-decoded.
  public var query: [(name: String, value: String)]
  /// The bearer token; nil: none was sent.
  public var token: String?
  /// Its other header fields, in order.
  public var fields: [(name: String, value: String)]

  /// A request.
  public init(
    _ method: String, _ path: String, query: [(name: String, value: String)] = [], token: String? = nil,
    fields: [(name: String, value: String)] = []
  ) {
    self.method = method
    self.path = path
    self.query = query
    self.token = token
    self.fields = fields
  }

  /// The value of the only field of that name; nil if there is none, or several, of which others might take another.
  func field(_ name: String) -> String? {
    let found = fields.filter { $0.name.equalsIgnoringCase(name) }
    return found.count == 1 ? found[0].value : nil
  }

  /// The bearer token of an `Authorization` field (RFC 6750 section 2.1); nil if it is of another scheme, or malformed.
  public static func token(authorization value: String) -> String? {
    let words = value.split(separator: " ", omittingEmptySubsequences: true)
    guard words.count == 2, words[0].lowercased() == "bearer", words[1].utf8.count <= 1024 else { return nil }
    return String(words[1])
  }
}

/// What the REST interface answers.
public struct WebResponse: Sendable {
  /// The status code.
  public var status: Int
  /// Header fields in order; `Content-Length` and `Date` are the server's.
  public var fields: [(name: String, value: String)]
  /// The body.
  public var body: Bytes

  /// An answer that no cache keeps and no browser guesses the type of: everything here is private.
  init(_ status: Int, type: String, fields: [(name: String, value: String)] = [], body: Bytes) {
    self.status = status
    self.fields =
      [("Content-Type", type), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")] + fields
    self.body = body
  }

  /// The value of the first field of that name, in any case.
  public func field(_ name: String) -> String? { fields.first { $0.name.equalsIgnoringCase(name) }?.value }

  static func json(_ value: JSONValue, status: Int = 200) -> WebResponse {
    WebResponse(status, type: "application/json", body: Bytes(value.bytes))
  }

  /// An error (RFC 9457). `title` is the same for all errors of a kind, `detail` says what was wrong here.
  static func problem(
    _ status: Int, _ title: String, detail: String, fields: [(name: String, value: String)] = []
  ) -> WebResponse {
    let body: JSONValue = [
      "type": "about:blank", "title": .string(title), "status": .int(status), "detail": .string(detail),
    ]
    return WebResponse(status, type: "application/problem+json", fields: fields, body: Bytes(body.bytes))
  }
}

/// A request as a handler sees it: bounded, and read in the only way that its bytes allow.
public struct HTTPRequest: Sendable, Equatable {
  /// `GET`, `HEAD`, … as it was written.
  public var method: String
  /// The path, percent-decoded: begins with `/`, has no `.` or `..` segments, no NUL and no encoded `/`.
  public var path: String
  /// The pairs of the query in order, percent-decoded, `+` as a space.
  public var query: [(name: String, value: String)]
  /// The fields in order, names as they were written.
  public var fields: [(name: String, value: String)]
  /// The whole body, for handlers that want it so; empty for those that read it as it comes.
  public var body: [UInt8]
  /// Whether the connection may be used again (RFC 9112 section 9.3).
  public var keepsAlive: Bool
  /// Whether it is of HTTP/1.1; otherwise of 1.0.
  public var isVersion11 = true

  /// A request without a body, as one that was read; path and query are decoded.
  public init(
    _ method: String, _ path: String, query: [(name: String, value: String)] = [],
    fields: [(name: String, value: String)] = [], keepsAlive: Bool = true, isVersion11: Bool = true
  ) {
    (self.method, self.path, self.query, self.fields) = (method, path, query, fields)
    (body, self.keepsAlive, self.isVersion11) = ([], keepsAlive, isVersion11)
  }

  /// The value of the first field of that name, whatever its case.
  public func field(_ name: String) -> String? {
    fields.first { $0.name.equalsIgnoringCase(name) }?.value
  }

  /// The value of the only field of that name; nil if there is none, or several, of which others might take another.
  public func onlyField(_ name: String) -> String? {
    var found: String?
    for field in fields where field.name.equalsIgnoringCase(name) {
      guard found == nil else { return nil }
      found = field.value
    }
    return found
  }

  /// The elements of all fields of that name that are lists (RFC 9110 section 5.6.1), in lower case.
  func tokens(_ name: String) -> [String] {
    fields.filter { $0.name.equalsIgnoringCase(name) }.flatMap { $0.value.lowercased().split(separator: ",") }
      .map { $0.trimmingSpaces() }.filter { !$0.isEmpty }
  }

  /// The first value of a query parameter.
  public func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }

  /// Equal in everything.
  public static func == (left: HTTPRequest, right: HTTPRequest) -> Bool {
    left.method == right.method && left.path == right.path && left.body == right.body
      && left.keepsAlive == right.keepsAlive && left.isVersion11 == right.isVersion11
      && left.query.elementsEqual(right.query) { $0 == $1 } && left.fields.elementsEqual(right.fields) { $0 == $1 }
  }
}

/// A request that is refused. The connection is closed: where it ends cannot be trusted.
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

extension String {
  /// Whether both are the same but for the case of ASCII letters.
  package func equalsIgnoringCase(_ other: String) -> Bool {
    func areEqual(_ left: some Sequence<UInt8>, _ right: some Sequence<UInt8>) -> Bool {
      left.elementsEqual(right) { left, right in
        left == right || left ^ right == 32 && (97...122).contains(left | 32)
      }
    }
    guard utf8.count == other.utf8.count else { return false }
    // Of memory, since views of strings look at each character's place.
    let found = utf8.withContiguousStorageIfAvailable { left in
      other.utf8.withContiguousStorageIfAvailable { right in areEqual(left, right) }
    }
    return (found ?? nil) ?? areEqual(utf8, other.utf8)
  }
}

extension Substring {
  /// Without the spaces and tabs around it.
  func trimmingSpaces() -> String {
    var rest = utf8[...]
    while rest.first == 32 || rest.first == 9 { rest.removeFirst() }
    while rest.last == 32 || rest.last == 9 { rest.removeLast() }
    return String(Substring(rest))
  }
}

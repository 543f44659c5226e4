/// What a handler answers.
public struct HTTPResponse: Sendable {
  /// What is sent behind the head.
  public enum Body: Sendable {
    /// These bytes, whole.
    case bytes([UInt8])
    /// These bytes of a file, behind others.
    case file(HTTPFile, Range<Int>, behind: [UInt8] = [])
    /// What the closure writes, of unknown length: chunked, or up to the end of the connection for HTTP/1.0. It runs on
    /// the connection's loop. When it throws, the connection is cut off, so that what came does not look whole.
    case stream(@Sendable (HTTPBodyWriter) async throws(NetworkError) -> Void)
    /// Another protocol from here on, for 101 only: what the closure does with the connection until it returns.
    case upgrade(@Sendable (Connection) async -> Void)
  }

  /// 100 to 599.
  public var status: Int
  /// In order; `Content-Length`, `Transfer-Encoding`, `Date` and `Connection` are the server's.
  public var fields: [(name: String, value: String)] { didSet { encodedFields = nil } }
  /// What is sent behind the head.
  public var body: Body
  /// Kept until the answer is sent, such as a share of memory that is limited. (An object: an answer is in the memory that
  /// each session keeps.)
  public var keeping: (any AnyObject & Sendable)?
  /// The fields as they are sent, if `encodeFields` was asked for.
  private(set) var encodedFields: [UInt8]?

  /// An answer whose bytes are all there.
  public init(_ status: Int, fields: [(name: String, value: String)] = [], body: [UInt8] = []) {
    self.init(status, fields: fields, .bytes(body))
  }

  /// Any answer.
  public init(_ status: Int, fields: [(name: String, value: String)] = [], _ body: Body) {
    self.status = status
    self.fields = fields
    self.body = body
  }

  /// A text, mostly for what the server itself refuses.
  public static func text(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status, fields: [("Content-Type", "text/plain; charset=utf-8")], body: Array("\(text)\n".utf8))
  }

  /// A file, whole; see `conditioned` for parts of it.
  public static func file(_ file: HTTPFile, fields: [(name: String, value: String)] = []) -> HTTPResponse {
    HTTPResponse(
      200, fields: fields + [("Last-Modified", HTTPDate.text(file.modified)), ("Accept-Ranges", "bytes")],
      .file(file, 0..<file.size))
  }

  /// For an answer that is given more than once: its fields are put together now, and not each time.
  public mutating func encodeFields() { encodedFields = HTTPWire.encoded(fields) }

  /// The value of the first field of that name, whatever its case.
  public func field(_ name: String) -> String? {
    fields.first { $0.name.equalsIgnoringCase(name) }?.value
  }
}

/// Answers requests whose bodies are read whole. Runs on the connection's loop: it may await anything and must not block.
public typealias HTTPHandler = @Sendable (HTTPRequest) async -> HTTPResponse

/// Answers requests, reading their bodies as they come. Runs on the connection's loop, like `HTTPHandler`.
public typealias HTTPStreamingHandler = @Sendable (HTTPRequest, HTTPBody) async -> HTTPResponse

/// Where a handler writes an answer of unknown length.
public final class HTTPBodyWriter {
  private let connection: Connection
  private let isChunked: Bool

  init(_ connection: Connection, isChunked: Bool) {
    self.connection = connection
    self.isChunked = isChunked
  }

  /// Writes some bytes; waits while the client does not take them.
  public func write(_ bytes: [UInt8]) async throws(NetworkError) {
    guard !bytes.isEmpty else { return }
    if isChunked { try await connection.write("\(String(bytes.count, radix: 16))\r\n") }
    try await connection.write(bytes)
    if isChunked { try await connection.write("\r\n") }
  }

  /// Sends what was written, for clients that wait for it.
  public func flush() async throws(NetworkError) { try await connection.flush() }

  func end() async throws(NetworkError) {
    if isChunked { try await connection.write("0\r\n\r\n") }
  }
}

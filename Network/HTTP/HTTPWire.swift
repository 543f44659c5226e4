/// One connection as HTTP/1.1 sees it: how requests come from it, and how answers are written to it.
final class HTTPWire {
  let connection: Connection
  let limits: HTTPLimits
  var parser: HTTPRequestParser

  init(_ connection: Connection, _ limits: HTTPLimits) {
    self.connection = connection
    self.limits = limits
    parser = HTTPRequestParser(limits)
  }

  /// What came of waiting for a request.
  enum Arrival {
    case head(HTTPHead)
    case refused(HTTPError)
    case end
  }

  /// Waits for the head of the next request.
  @inline(never)
  func nextHead() async throws(NetworkError) -> Arrival {
    connection.limitReading(to: nil)
    connection.writeTimeout = limits.writeTime
    connection.readTimeout = limits.idleTime
    var hasBegun = false
    while true {
      if connection.buffered == 0 {
        guard try await connection.fill(idle: parser.isIdle) else { return .end }
      }
      // The whole head has a time: a byte now and then does not keep the connection.
      if !hasBegun { connection.limitReading(to: limits.headTime) }
      hasBegun = true
      do throws(HTTPError) {
        let event = try connection.consume { (bytes) throws(HTTPError) in
          let (event, consumed) = try parser.feed(bytes)
          return (result: event, consumed: consumed)
        }
        if case .head(let head) = event { return .head(head) }
      } catch { return .refused(error) }
    }
  }

  /// Writes an answer. What was gathered is sent when the client has nothing more to be read.
  ///
  /// Throws also when the body cannot be sent whole: then what follows cannot be told from it.
  @inline(never)
  func send(
    _ response: HTTPResponse, to request: HTTPRequest? = nil, keepsAlive: Bool
  ) async throws(NetworkError) {
    defer { withExtendedLifetime(response.keeping) {} }
    let hasBody = response.status >= 200 && response.status != 204 && response.status != 304
    let isHead = request?.method == "HEAD"
    let isChunked = hasBody && response.body.size == nil && request?.isVersion11 == true
    try await connection.write(
      Self.head(response, length: hasBody ? response.body.size : nil, isChunked: isChunked, keepsAlive: keepsAlive))
    if hasBody {
      switch response.body {
      case .bytes(let bytes): if !isHead { try await connection.write(bytes) }
      case .file(let file, let range, let first):
        if !isHead {
          try await connection.write(first)
          try await connection.write(file: file.descriptor, range)
        }
      case .stream(let write):
        if !isHead {
          let writer = HTTPBodyWriter(connection, isChunked: isChunked)
          try await write(writer)
          try await writer.end()
        }
      case .upgrade: break
      }
    }
    // Short answers to pipelined requests go out together: `fill` sends what was written before it waits.
    if connection.buffered == 0 || !keepsAlive { try await connection.flush() }
  }

  private static func head(_ response: HTTPResponse, length: Int?, isChunked: Bool, keepsAlive: Bool) -> [UInt8] {
    var head: [UInt8] = []
    head.reserveCapacity(384)
    func add(_ text: String) { head.append(contentsOf: text.utf8) }
    add("HTTP/1.1 ")
    add(String(response.status))
    add(" ")
    add(HTTPStatus.reason(response.status))
    add("\r\n")
    head += response.encodedFields ?? encoded(response.fields)
    if let length {
      add("Content-Length: ")
      add(String(length))
      add("\r\n")
    }
    if isChunked { add("Transfer-Encoding: chunked\r\n") }
    add("Date: ")
    add(HTTPDate.now)
    add(keepsAlive || response.status == 101 ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n")
    return head
  }

  static func encoded(_ fields: [(name: String, value: String)]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(256)
    // No field that a handler gives can end early and begin another.
    func addClean(_ text: String) {
      let start = bytes.count
      bytes.append(contentsOf: text.utf8)
      if !bytes[start...].allSatisfy(isPrintable) { bytes = bytes[..<start] + bytes[start...].filter(isPrintable) }
    }
    func isPrintable(_ byte: UInt8) -> Bool { byte >= 32 && byte != 127 }
    for field in fields {
      addClean(field.name)
      bytes += [UInt8(ascii: ":"), UInt8(ascii: " ")]
      addClean(field.value)
      bytes += [13, 10]
    }
    return bytes
  }
}

/// The words for status codes (RFC 9110 section 15).
enum HTTPStatus {
  private static let reasons = [
    100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    206: "Partial Content", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict",
    410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
    422: "Unprocessable Content", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
  ]

  static func reason(_ status: Int) -> String { reasons[status] ?? "Status" }
}

/// The head of a request, read strictly (RFC 9112): what two parsers could read differently is refused.
///
/// CRLF only; no folded fields; no bare CR, LF or NUL; exactly one way to tell where the body ends; one `Host`.
package struct HTTPHead: Sendable, Equatable {
  /// The request, without its body.
  package var request: HTTPRequest
  /// Bytes of the body; nil: it is chunked.
  package var length: Int?
  /// Whether the client waits for `100 Continue` before it sends the body.
  package var expectsContinue = false

  /// Reads a head that ends with an empty line. `bytes` holds no bare CR or LF: `HTTPRequestParser` has looked.
  init(_ bytes: ArraySlice<UInt8>, _ limits: HTTPLimits) throws(HTTPError) {
    var rest = bytes
    guard let first = Self.nextLine(&rest) else { throw HTTPError(400, "no request line") }
    guard let space = first.firstIndex(of: 32), let last = first.lastIndex(of: 32),
      (1...20).contains(space - first.startIndex), first[..<space].allSatisfy(Self.isTokenByte), space < last,
      !first[(space + 1)..<last].contains(32)
    else { throw HTTPError(400, "bad request line") }
    let isOne = try Self.version(first[(last + 1)...])
    request = HTTPRequest(Self.text(first[..<space]), "", keepsAlive: isOne, isVersion11: isOne)
    request.fields.reserveCapacity(8)
    var isChunked = false
    var hosts = 0
    while let line = Self.nextLine(&rest), !line.isEmpty {
      guard request.fields.count < limits.fields else { throw HTTPError(431, "more than \(limits.fields) fields") }
      let end = line.firstIndex { !Self.isTokenByte($0) } ?? line.endIndex
      guard end > line.startIndex, end < line.endIndex, line[end] == UInt8(ascii: ":") else {
        throw HTTPError(400, "bad field name")
      }
      let name = Self.text(line[..<end])
      let bytes = Self.trimmed(line[(end + 1)...])
      let value = Self.text(bytes)
      request.fields.append((name, value))
      switch Known(name) {
      case .host:
        hosts += 1
        // Empty if what is asked for has no name (RFC 9110 section 7.2).
        guard bytes.isEmpty || HTTPTarget.isAuthority(bytes) else { throw HTTPError(400, "bad Host") }
      case .contentLength:
        guard length == nil, let number = Self.number(value) else { throw HTTPError(400, "bad Content-Length") }
        length = number
      case .transferEncoding:
        guard isOne, !isChunked else { throw HTTPError(400, "bad Transfer-Encoding") }
        guard value.lowercased() == "chunked" else { throw HTTPError(501, "only chunked is understood") }
        isChunked = true
      case .connection:
        let tokens = value.lowercased().split(separator: ",").map { $0.trimmingSpaces() }
        if tokens.contains("close") { request.keepsAlive = false }
      case .expect:
        guard value.lowercased() == "100-continue" else { throw HTTPError(417, "unknown expectation") }
        expectsContinue = isOne
      case nil: break
      }
    }
    guard !(isChunked && length != nil) else { throw HTTPError(400, "both Content-Length and Transfer-Encoding") }
    guard hosts == 1 || hosts == 0 && !isOne else { throw HTTPError(400, "exactly one Host is needed") }
    if !isChunked { length = length ?? 0 }
    if length == 0 { expectsContinue = false }
    let target = try HTTPTarget(first[(space + 1)..<last], method: request.method)
    (request.path, request.query) = (target.path, target.query)
  }

  /// The fields that say how a request is to be read.
  private enum Known {
    case host, contentLength, transferEncoding, connection, expect

    init?(_ name: String) {
      let (word, known): (String, Known)
      switch name.utf8.count {
      case 4: (word, known) = ("host", .host)
      case 6: (word, known) = ("expect", .expect)
      case 10: (word, known) = ("connection", .connection)
      case 14: (word, known) = ("content-length", .contentLength)
      case 17: (word, known) = ("transfer-encoding", .transferEncoding)
      default: return nil
      }
      guard name.equalsIgnoringCase(word) else { return nil }
      self = known
    }
  }

  /// Takes a line and its CRLF from the front.
  private static func nextLine(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard let end = rest.firstIndex(of: 13) else { return nil }
    defer { rest = rest[min(end + 2, rest.endIndex)...] }
    return rest[..<end]
  }

  private static func version(_ word: ArraySlice<UInt8>) throws(HTTPError) -> Bool {
    if word.elementsEqual("HTTP/1.1".utf8) { return true }
    if word.elementsEqual("HTTP/1.0".utf8) { return false }
    throw HTTPError(word.starts(with: "HTTP/".utf8) ? 505 : 400, "HTTP/1.1 is understood")
  }

  private static func number(_ text: String) -> Int? {
    guard !text.isEmpty, text.utf8.count < 16, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text)
  }

  private static func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var bytes = bytes.drop { $0 == 32 || $0 == 9 }
    while let last = bytes.last, last == 32 || last == 9 { bytes.removeLast() }
    return bytes
  }

  /// Whether it may be in a name (RFC 9110 section 5.6.2). A bit for each character, since this is asked of every one.
  static func isTokenByte(_ byte: UInt8) -> Bool {
    // !#$%&'*+-.0-9, and A-Z^_`a-z|~.
    let bits: UInt64 = byte < 64 ? 0x03FF_6CFA_0000_0000 : 0x57FF_FFFF_C7FF_FFFE
    return byte < 128 && bits >> UInt64(byte & 63) & 1 == 1
  }

  static func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }
}

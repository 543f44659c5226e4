import FuzzKit
import Network

/// Rules of the HTTP parser: how its bytes are cut makes no difference, and what it lets pass can be read in one way only.
public enum HTTPFuzz {
  /// The first rule that does not hold.
  public static func brokenRule(_ bytes: [UInt8]) -> String? {
    let whole = Outcome([bytes[...]])
    if Outcome(Pieces(bytes)) != whole { return "pieces" }
    for request in whole.requests {
      if let broken = brokenRule(request) { return broken }
      // Written in the plainest form, of one version or the other, and read again, it is the same.
      guard (0...1).contains(where: { Outcome([plain(request, minor: $0)[...]], roomy).isOnly(request) }) else {
        return "written and read again"
      }
    }
    return nil
  }

  private static let limits = limits(head: 512)
  private static let roomy = limits(head: 4096)

  private static func limits(head: Int) -> HTTPLimits {
    var limits = HTTPLimits()
    (limits.head, limits.fields) = (head, 10)
    return limits
  }

  private struct Outcome: Equatable {
    var requests: [HTTPRequest] = []
    var refusal: HTTPError?

    func isOnly(_ request: HTTPRequest) -> Bool { refusal == nil && requests == [request] }

    init(_ pieces: some Sequence<ArraySlice<UInt8>>, _ limits: HTTPLimits = HTTPFuzz.limits) {
      var parser = HTTPRequestParser(limits)
      var current: HTTPRequest?
      do {
        for piece in pieces {
          var rest = piece
          while !rest.isEmpty || current != nil {
            let (event, consumed) = try rest.withUnsafeBytes { bytes in try parser.feed(bytes) }
            precondition((0...rest.count).contains(consumed), "more was taken than there is")
            switch event {
            case .head(let head): current = head.request
            case .data(let range): current?.body += Array(rest)[range]
            case .end:
              if let current { requests.append(current) }
              current = nil
            case .more: precondition(consumed == rest.count, "not all was taken, and more is wanted")
            }
            rest = rest.dropFirst(consumed)
            if event == .more { break }
          }
        }
      } catch { refusal = error as? HTTPError }
    }
  }

  private static func brokenRule(_ request: HTTPRequest) -> String? {
    let path = request.path
    if request.method.isEmpty || request.method.utf8.contains(where: { $0 <= 32 || $0 >= 127 }) { return "method" }
    if request.fields.count > limits.fields { return "limits" }
    if path.utf8.contains(where: { $0 < 32 || $0 == 127 || $0 == UInt8(ascii: "\\") }) { return "path" }
    if path.split(separator: "/").contains(where: { $0 == "." || $0 == ".." }) { return "dot segments" }
    guard path.hasPrefix("/") || path == "*" && request.method == "OPTIONS" else { return "start of the path" }
    if request.query.contains(where: { ($0.name + $0.value).utf8.contains(0) }) { return "query" }
    for (name, value) in request.fields {
      if name.isEmpty || name.utf8.contains(where: { $0 <= 32 || $0 == 58 || $0 >= 127 }) { return "field name" }
      if value.utf8.contains(where: { $0 < 32 && $0 != 9 || $0 == 127 }) { return "field value" }
      if let first = value.utf8.first, let last = value.utf8.last, [9, 32].contains(first) || [9, 32].contains(last) {
        return "spaces around a value"
      }
    }
    func count(_ name: String) -> Int { request.fields.filter { $0.name.lowercased() == name }.count }
    if count("host") > 1 || count("content-length") + count("transfer-encoding") > 1 { return "framing" }
    return nil
  }

  private static func plain(_ request: HTTPRequest, minor: Int) -> [UInt8] {
    let query = request.query.map { "\(encoded($0.name))=\(encoded($0.value))" }.joined(separator: "&")
    let path = request.path == "*" ? "*" : encoded(request.path)
    var text = "\(request.method) \(path)\(query.isEmpty ? "" : "?\(query)") HTTP/1.\(minor)\r\n"
    for (name, value) in request.fields { text += "\(name):\(value)\r\n" }
    var bytes = Array((text + "\r\n").utf8)
    let isChunked = request.fields.contains { $0.name.lowercased() == "transfer-encoding" }
    if isChunked, !request.body.isEmpty { bytes += Array("\(String(request.body.count, radix: 16))\r\n".utf8) }
    bytes += request.body
    if isChunked { bytes += Array("\(request.body.isEmpty ? "" : "\r\n")0\r\n\r\n".utf8) }
    return bytes
  }

  private static func encoded(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122, UInt8(ascii: "/"): result.unicodeScalars.append(Unicode.Scalar(byte))
      default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return result
  }
}

#if FUZZING
  /// What libFuzzer calls with each input.
  @_cdecl("LLVMFuzzerTestOneInput")
  public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    tryInput(start, count, HTTPFuzz.brokenRule)
  }
#endif

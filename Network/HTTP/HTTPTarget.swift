/// What a request asks for: the target of its first line (RFC 9112 section 3.2), percent-decoded once.
struct HTTPTarget {
  private(set) var path: String
  private(set) var query: [(name: String, value: String)] = []

  /// Reads `/path?query`, the same behind `http://host`, or the `*` of OPTIONS.
  init(_ target: ArraySlice<UInt8>, method: String) throws(HTTPError) {
    guard target.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "#") }) else { throw Self.bad }
    if method == "OPTIONS", target.elementsEqual("*".utf8) {
      path = "*"
      return
    }
    let rest = target.first == UInt8(ascii: "/") ? target : try Self.withoutAuthority(target)
    let mark = rest.firstIndex(of: UInt8(ascii: "?")) ?? rest.endIndex
    path = mark == rest.startIndex ? "/" : try Self.decoded(rest[..<mark], isPath: true)
    // A dot may be there as `%2e`.
    if rest[..<mark].contains(where: { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "%") }),
      // Bytes, since a letter that combines with a slash makes one character of both.
      path.utf8.split(separator: UInt8(ascii: "/")).contains(where: {
        $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8)
      })
    {
      throw HTTPError(400, "dot segments in the path")
    }
    for pair in rest[mark...].dropFirst().split(separator: UInt8(ascii: "&")) {
      let parts = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      let name = try Self.decoded(parts[0], isPath: false)
      query.append((name, parts.count == 2 ? try Self.decoded(parts[1], isPath: false) : ""))
    }
  }

  /// Whether it is `host` or `host:port`: a name or an address, nobody's password in front of it (RFC 9110 section 4.2).
  static func isAuthority(_ bytes: ArraySlice<UInt8>) -> Bool {
    var rest = bytes
    if rest.first == UInt8(ascii: "[") {
      let address = rest.dropFirst().prefix { $0 != UInt8(ascii: "]") }
      guard IPAddress(String(decoding: address, as: UTF8.self))?.isIPv6 == true, address.endIndex < rest.endIndex else {
        return false
      }
      rest = rest[(address.endIndex + 1)...]
    } else {
      let name = rest.prefix(while: isOfName)
      guard !name.isEmpty else { return false }
      rest = rest[name.endIndex...]
    }
    guard let colon = rest.popFirst() else { return true }
    return colon == UInt8(ascii: ":") && rest.count <= 5 && rest.allSatisfy { (48...57).contains($0) }
  }

  private static let bad = HTTPError(400, "bad target")

  /// The absolute form, less what names this server.
  private static func withoutAuthority(_ target: ArraySlice<UInt8>) throws(HTTPError) -> ArraySlice<UInt8> {
    let start = String(decoding: target.prefix(8), as: UTF8.self).lowercased()
    guard let scheme = ["http://", "https://"].first(where: { start.hasPrefix($0) }) else { throw bad }
    let authority = target.dropFirst(scheme.utf8.count).prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
    guard isAuthority(authority) else { throw bad }
    return target[authority.endIndex...]
  }

  private static func decoded(_ bytes: ArraySlice<UInt8>, isPath: Bool) throws(HTTPError) -> String {
    // Most need nothing: what is there is ASCII.
    let special = isPath ? UInt8(ascii: "\\") : UInt8(ascii: "+")
    guard bytes.contains(where: { $0 == UInt8(ascii: "%") || $0 == special }) else {
      return String(decoding: bytes, as: UTF8.self)
    }
    var result: [UInt8] = []
    var rest = bytes
    while let byte = rest.popFirst() {
      var value = byte
      if byte == UInt8(ascii: "+"), !isPath {
        value = 32
      } else if byte == UInt8(ascii: "%") {
        guard let high = rest.popFirst().flatMap(HTTPHead.hexDigit),
          let low = rest.popFirst().flatMap(HTTPHead.hexDigit)
        else { throw HTTPError(400, "bad percent-encoding") }
        value = high << 4 | low
        guard value != 0, !isPath || value > 31 && value != 127 && value != UInt8(ascii: "/") else {
          throw HTTPError(400, "a percent-encoded byte that is not allowed")
        }
      }
      guard !isPath || value != UInt8(ascii: "\\") else { throw HTTPError(400, "a backslash in the path") }
      result.append(value)
    }
    // To mend it would make one path of several.
    guard let text = String(validating: result, as: UTF8.self) else { throw HTTPError(400, "not UTF-8") }
    return text
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"): true
    default: false
    }
  }
}

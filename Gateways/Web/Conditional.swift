import OpenSSL
import Pipeline

/// What a client already has, or wants of it: `ETag` with `If-None-Match`, and ranges (RFC 9110 sections 13 and 14).
enum Conditional {
  /// The answer to a request that may name an entity tag or a range; only a whole answer (200) is changed.
  static func answer(_ response: WebResponse, to request: WebRequest) -> WebResponse {
    guard response.status == 200 else { return response }
    var response = response
    let tag = response.field("etag") ?? "\"\(SHA256.hash(response.body).description.prefix(32))\""
    if response.field("etag") == nil { response.fields.append(("ETag", tag)) }
    if let wanted = request.field("if-none-match"), matches(wanted, tag) {
      // Fields about the body are left out with it (section 15.4.5).
      response.fields.removeAll { $0.name.lowercased() == "content-type" || $0.name.lowercased() == "accept-ranges" }
      response.status = 304
      response.body = .empty
      return response
    }
    guard response.field("accept-ranges") != nil, let text = request.field("range"),
      request.field("if-range").map({ $0 == tag }) ?? true
    else { return response }
    switch range(text, of: response.body.count) {
    case .whole: return response
    case .part(let range):
      response.status = 206
      response.fields.append(
        ("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(response.body.count)"))
      response.body = response.body[range]
      return response
    case .none:
      return .problem(
        416, "Range not satisfiable", detail: "there are \(response.body.count) bytes",
        fields: [("Content-Range", "bytes */\(response.body.count)")])
    }
  }

  /// Weak comparison (section 8.8.3.2) with each tag of a list, or `*`.
  private static func matches(_ list: String, _ tag: String) -> Bool {
    list.split(separator: ",").contains { item in
      let item = item.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
      return item == "*" || item == tag || item == "W/\(tag)"
    }
  }

  enum Wanted: Equatable {
    /// Everything: no range that we serve, such as several at once.
    case whole
    case part(Range<Int>)
    /// Nothing of it is there.
    case none
  }

  /// A single range of bytes (section 14.1.2); any other is passed over, as the RFC allows.
  static func range(_ text: String, of size: Int) -> Wanted {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].lowercased() == "bytes" else { return .whole }
    let ends = parts[1].split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, ends.allSatisfy({ $0.utf8.count <= 18 && $0.utf8.allSatisfy { (48...57).contains($0) } })
    else {
      return .whole
    }
    switch (Int(ends[0]), Int(ends[1])) {
    case (nil, nil): return .whole
    case (nil, let last?): return last == 0 || size == 0 ? .none : .part(max(0, size - last)..<size)
    case (let first?, nil): return first < size ? .part(first..<size) : .none
    case (let first?, let last?):
      guard first <= last else { return .whole }
      return first < size ? .part(first..<min(last + 1, size)) : .none
    }
  }
}

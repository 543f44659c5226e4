/// A range of bytes that a client asks for (RFC 9110 section 14).
public enum HTTPRange: Sendable, Equatable {
  /// Everything: no range, or one that we do not serve, such as several at once.
  case whole
  /// These bytes.
  case part(Range<Int>)
  /// Nothing of it is there.
  case none

  /// Reads the value of a `Range` field for what has `size` bytes. What is malformed is passed over, as the RFC asks.
  public init(_ text: String, of size: Int) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let ends = parts.last?.split(separator: "-", omittingEmptySubsequences: false).map { $0.trimmingSpaces() } ?? []
    self = .whole
    guard parts.count == 2, String(parts[0]).equalsIgnoringCase("bytes"), ends.count == 2,
      ends.allSatisfy({ $0.utf8.count <= 18 && $0.utf8.allSatisfy { (48...57).contains($0) } })
    else { return }
    switch (Int(ends[0]), Int(ends[1])) {
    case (nil, nil): break
    case (nil, let last?): self = last == 0 || size == 0 ? .none : .part(max(0, size - last)..<size)
    case (let first?, nil): self = first < size ? .part(first..<size) : .none
    case (let first?, let last?) where first <= last:
      self = first < size ? .part(first..<min(last + 1, size)) : .none
    default: break
    }
  }
}

extension HTTPResponse {
  /// The same for a client that has it already, or wants a part of it: 304, 412, 206 or 416 (RFC 9110 sections 13, 14).
  ///
  /// Only a whole answer (200) to GET or HEAD, of bytes or of a file, is changed. Its `ETag` and `Last-Modified` are what
  /// is compared; times only for being the same. Several ranges at once are answered by everything.
  public func conditioned(by request: HTTPRequest) -> HTTPResponse {
    guard status == 200, request.method == "GET" || request.method == "HEAD", let size = body.size else { return self }
    let (tag, time) = (field("etag"), field("last-modified"))
    if let wanted = request.field("if-match"), !Self.lists(wanted, tag, weakly: false) {
      return .text(412, "it has changed")
    }
    let isThere =
      if let known = request.field("if-none-match") {
        Self.lists(known, tag, weakly: true)
      } else {
        time != nil && request.onlyField("if-modified-since") == time
      }
    if isThere {
      // Fields about the body are left out with it (section 15.4.5).
      let kept = fields.filter { field in !["content-type", "accept-ranges"].contains(field.name.lowercased()) }
      return HTTPResponse(304, fields: kept)
    }
    guard let text = request.onlyField("range"),
      // The part of something else must not be put together with what the client has.
      request.field("if-range").map({ $0 == tag && !$0.hasPrefix("W/") || $0 == time }) ?? true
    else { return self }
    switch HTTPRange(text, of: size) {
    case .whole: return self
    case .part(let range):
      let place = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)"
      var response = HTTPResponse(206, fields: fields + [("Content-Range", place)], body.part(range))
      response.keeping = keeping
      return response
    case .none:
      var response = HTTPResponse.text(416, "there are \(size) bytes")
      response.fields.append(("Content-Range", "bytes */\(size)"))
      return response
    }
  }

  /// Whether a list of entity tags, or `*`, names one.
  private static func lists(_ list: String, _ tag: String?, weakly: Bool) -> Bool {
    list.split(separator: ",").map { $0.trimmingSpaces() }.contains { item in
      if item == "*" { return true }
      guard let tag else { return false }
      return weakly ? item.strippingWeakness == tag.strippingWeakness : item == tag && !tag.hasPrefix("W/")
    }
  }
}

extension String {
  fileprivate var strippingWeakness: Substring { hasPrefix("W/") ? dropFirst(2) : self[...] }
}

extension HTTPResponse.Body {
  /// How long it is, in bytes; nil if nobody knows.
  public var size: Int? {
    switch self {
    case .bytes(let bytes): bytes.count
    case .file(_, let range, let first): first.count + range.count
    case .stream, .upgrade: nil
    }
  }

  fileprivate func part(_ range: Range<Int>) -> HTTPResponse.Body {
    switch self {
    case .bytes(let bytes): .bytes(Array(bytes[range]))
    case .file(let file, let whole, let first):
      .file(
        file, whole.inside(range.lowerBound - first.count, range.upperBound - first.count),
        behind: Array(first[(0..<first.count).inside(range.lowerBound, range.upperBound)]))
    case .stream, .upgrade: self
    }
  }
}

extension Range<Int> {
  /// What lies between two places, counted from its start, as far as it is inside.
  fileprivate func inside(_ start: Int, _ end: Int) -> Range<Int> {
    (lowerBound + Swift.min(Swift.max(start, 0), count))..<(lowerBound + Swift.min(Swift.max(end, 0), count))
  }
}

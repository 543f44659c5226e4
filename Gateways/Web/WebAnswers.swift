import Network
import OpenSSL
import Pipeline

/// What all answers of the REST interface have in common.
extension HTTPResponse {
  /// An answer that no cache keeps and no browser guesses the type of: everything here is private.
  static func mail(
    _ status: Int, type: String, fields: [(name: String, value: String)] = [], body: [UInt8]
  ) -> HTTPResponse {
    HTTPResponse(
      status,
      fields: [("Content-Type", type), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")] + fields,
      body: body)
  }

  static func json(_ value: JSONValue, status: Int = 200) -> HTTPResponse {
    mail(status, type: "application/json", body: value.bytes)
  }

  /// An error (RFC 9457). `title` is the same for all errors of a kind, `detail` says what was wrong here.
  static func problem(
    _ status: Int, _ title: String, detail: String, fields: [(name: String, value: String)] = []
  ) -> HTTPResponse {
    let body: JSONValue = [
      "type": "about:blank", "title": .string(title), "status": .int(status), "detail": .string(detail),
    ]
    return mail(status, type: "application/problem+json", fields: fields, body: body.bytes)
  }

  /// The same with an entity tag, by default the digest of its bytes.
  var tagged: HTTPResponse {
    guard status == 200, case .bytes(let bytes) = body, field("etag") == nil else { return self }
    var tagged = self
    tagged.fields.append(("ETag", "\"\(SHA256.hash(bytes).description.prefix(32))\""))
    return tagged
  }

  /// The same for a client that has it already, or wants a part of it (RFC 9110 sections 13 and 14).
  func fitted(to request: HTTPRequest) -> HTTPResponse {
    let fitted = conditioned(by: request)
    switch fitted.status {
    case 412: return .problem(412, "Precondition failed", detail: "it has changed")
    case 416:
      return .problem(
        416, "Range not satisfiable", detail: "nothing of the range is there",
        fields: fitted.field("content-range").map { [("Content-Range", $0)] } ?? [])
    default: return fitted
    }
  }
}

extension HTTPRequest {
  /// The bearer token of its `Authorization` field (RFC 6750 section 2.1); nil if that is of another scheme, malformed, or
  /// not the only one: others might take the other one.
  package var bearerToken: String? {
    guard var value = onlyField("authorization") else { return nil }
    return value.withUTF8 { bytes in
      let space = UInt8(ascii: " ")
      guard let end = bytes.firstIndex(of: space) else { return nil }
      var token = bytes[end...].drop { $0 == space }
      while token.last == space { token.removeLast() }
      guard String(decoding: bytes[..<end], as: UTF8.self).equalsIgnoringCase("bearer"),
        (1...1024).contains(token.count), !token.contains(space)
      else { return nil }
      return String(decoding: token, as: UTF8.self)
    }
  }
}

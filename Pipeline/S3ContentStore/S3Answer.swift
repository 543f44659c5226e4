import Network

/// What an answer of S3 means. Pure: status, fields and body in, a verdict out.
enum S3Answer: Equatable {
  /// Done.
  case good
  /// There is no such object.
  case missing
  /// It cannot at the moment: worth another try. In words.
  case busy(String)
  /// It does not want to, and will not until somebody changes something. In words, with what to change.
  case refused(String)

  init(_ response: HTTPClient.Response) {
    let code = Self.code(response.body)
    switch response.status {
    case 200..<300: self = .good
    case 404 where code == "NoSuchKey": self = .missing
    case 408, 429, 500..<600: self = .busy("it answers \(response.status) \(code)")
    default:
      self =
        Self.passing.contains(code)
        ? .busy("it answers \(response.status) \(code)") : .refused(Self.words(response, code))
    }
  }

  /// Said of a request that arrived late or damaged.
  private static let passing = [
    "RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "SlowDown", "OperationAborted",
  ]

  /// What is between `<Code>` and `</Code>`: nothing else of an answer is shown, since it may repeat what was signed.
  private static func code(_ body: [UInt8]) -> String {
    let text = String(decoding: body.prefix(4096), as: UTF8.self)
    guard let start = text.firstRange(of: "<Code>") else { return "" }
    return String(text[start.upperBound...].prefix(64).prefix { $0.isASCII && ($0.isLetter || $0.isNumber) })
  }

  private static func words(_ response: HTTPClient.Response, _ code: String) -> String {
    switch code {
    case "SignatureDoesNotMatch": "the secret key is wrong (\(code)); correct content.secret-key"
    case "InvalidAccessKeyId": "the access key is not known (\(code)); correct content.access-key"
    case "AccessDenied":
      "the key is not allowed to (\(code)); its policy needs s3:GetObject, s3:PutObject and s3:ListBucket"
    case "RequestTimeTooSkewed", "RequestExpired":
      "the clocks differ by too much (\(code)); it is \(response.field("date") ?? "another time") there: "
        + "set this machine's clock, as by NTP"
    case "NoSuchBucket": "there is no such bucket (\(code)); create it, or correct content.s3"
    case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "InvalidRegion":
      "the bucket is in another region or at another endpoint (\(code)); correct content.region and content.s3"
    default: "it answers \(response.status) \(code); is content.s3 an endpoint of S3?"
    }
  }
}

extension HTTPClient.Response {
  /// How long ago, by the server's own clock, the object was written; nil if it does not say.
  var age: Duration? {
    guard let now = date("date"), let written = date("last-modified") else { return nil }
    return .seconds(now - written)
  }
}

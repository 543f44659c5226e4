import Curl

extension HTTPClient {
  /// What is asked for.
  public struct Request: Sendable {
    /// `GET`, `PUT`, …
    public var method: String
    /// `http://…` or `https://…`, percent-encoded.
    public var url: String
    /// In order; `Host`, `Content-Length` and their like are the client's.
    public var fields: [(name: String, value: String)] = []
    /// Nil sends none.
    public var body: [UInt8]?
    /// Signed with it, if it is given.
    public var signature: AWSSignature?
    /// For the connection, TLS included.
    public var connectTimeout = Duration.seconds(5)
    /// For all of it.
    public var timeout = Duration.seconds(60)
    /// In which no byte comes or goes, in whole seconds.
    public var silence = Duration.seconds(10)
    /// Bytes of the answer's body.
    public var answerLimit = 1 << 20
    /// Redirects that are followed. The fields go along, wherever they lead.
    public var redirects = 0

    /// A request.
    public init(_ method: String, _ url: String) {
      self.method = method
      self.url = url
    }
  }

  /// AWS Signature Version 4 over method, URL and fields. The body is covered by the field `x-amz-content-sha256`.
  public struct AWSSignature: Sendable {
    /// For example `us-east-1`.
    public var region: String
    /// For example `s3`.
    public var service: String
    /// Names the key.
    public var accessKey: String
    /// Is never sent.
    public var secretKey: String

    /// Signs with this key.
    public init(region: String, service: String, accessKey: String, secretKey: String) {
      self.region = region
      self.service = service
      self.accessKey = accessKey
      self.secretKey = secretKey
    }
  }

  /// What came back.
  public struct Response: Sendable {
    /// 200 to 599.
    public var status: Int
    /// In order, trailers behind them; names as they were written.
    public var fields: [(name: String, value: String)]
    /// All of it.
    public var body: [UInt8]

    /// The value of the first field of that name, whatever its case.
    public func field(_ name: String) -> String? {
      let wanted = name.lowercased()
      return fields.first { $0.name.lowercased() == wanted }?.value
    }

    /// A field that is a date, in seconds since 1970.
    public func date(_ name: String) -> Int? { field(name).flatMap { seconds(httpDate: $0) } }
  }
}

extension HTTPClient.Request {
  /// Why it cannot be sent: no value may end early and begin something else.
  var problem: String? {
    func isToken(_ text: String) -> Bool {
      !text.isEmpty
        && text.utf8.allSatisfy {
          (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
            || "!#$%&'*+-.^_`|~".utf8.contains($0)
        }
    }
    guard isToken(method) else { return "a method of HTTP is a word" }
    guard url.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else { return "a URL is percent-encoded ASCII" }
    for field in fields {
      guard isToken(field.name) else { return "the name of a field is a word" }
      guard field.value.utf8.allSatisfy({ $0 >= 32 && $0 != 127 || $0 == 9 }), !field.value.isEmpty else {
        return "the field \(field.name) holds control characters, or nothing"
      }
    }
    if let signature {
      guard isToken(signature.region), isToken(signature.service),
        signature.accessKey.utf8.allSatisfy({ $0 > 32 && $0 < 127 }), !signature.secretKey.utf8.contains(0)
      else { return "region, service and key of a signature are words" }
    }
    return nil
  }
}

extension HTTPClient.Response {
  /// From the lines of a head; nil if they are none, or leave open where the body ends.
  init?(head: [[UInt8]], body: [UInt8]) {
    guard let first = head.first else { return nil }
    let words = first.split(separator: 32, maxSplits: 2)
    guard words.count >= 2, let status = Int(String(decoding: words[1], as: UTF8.self)), (200...599).contains(status)
    else { return nil }
    self.status = status
    self.body = body
    fields = head.dropFirst().compactMap { line in
      guard let colon = line.firstIndex(of: 58) else { return nil }
      let isBlank = { (byte: UInt8) in byte == 32 || byte == 9 }
      var value = line[(colon + 1)...].drop(while: isBlank)
      while let last = value.last, isBlank(last) { value.removeLast() }
      return (String(decoding: line[..<colon], as: UTF8.self), String(decoding: value, as: UTF8.self))
    }
    // libcurl takes a number that it cannot hold for none.
    if let length = field("content-length"), Int(length) == nil { return nil }
  }
}

import YAML

extension Topology {
  /// Where large content is kept.
  public enum ContentLocation: Sendable, Hashable {
    /// In the data folder.
    case folder
    /// In a bucket of S3, or of what speaks like it.
    case s3(S3Settings)
  }

  /// A bucket and how to get there. Its descriptions hold no key.
  public struct S3Settings: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    /// `http://HOST:PORT` or `https://HOST`.
    public var endpoint: String
    /// The bucket, addressed by path.
    public var bucket: String
    /// What names of objects begin with, without slashes around it; empty for none.
    public var prefix: String
    /// The region that signatures name.
    public var region: String
    /// Names the key.
    public var accessKey: String
    /// A secret.
    public var secretKey: String
    /// A PEM file with the authorities to trust; nil: the system's.
    public var authorities: String?

    /// Endpoint, bucket and prefix.
    public var description: String { "\(endpoint)/\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)") }
    /// The same.
    public var debugDescription: String { description }

    /// From `ENDPOINT/BUCKET[/PREFIX]`; nil if it is no such thing.
    public init?(
      url: String, region: String = "us-east-1", accessKey: String, secretKey: String, authorities: String? = nil
    ) {
      guard let scheme = ["https://", "http://"].first(where: url.hasPrefix) else { return nil }
      var parts = url.dropFirst(scheme.count).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      if parts.last == "" { parts.removeLast() }
      guard parts.count >= 2, Self.isHost(parts[0]), Self.isBucket(parts[1]) else { return nil }
      // What needs no escaping in a URL, so that nothing is signed otherwise than it is sent.
      guard parts.dropFirst(2).allSatisfy({ $0 != "." && $0 != ".." && Self.isPlain($0) }) else { return nil }
      endpoint = scheme + parts[0]
      bucket = parts[1]
      prefix = parts.dropFirst(2).joined(separator: "/")
      self.region = region
      self.accessKey = accessKey
      self.secretKey = secretKey
      self.authorities = authorities
    }

    private static func isHost(_ text: String) -> Bool {
      AddressText.isValid(text) || isPlain(text) || text.hasPrefix("[") && AddressText.isValid("\(text):443")
    }

    /// 3 to 63 lower-case letters, digits, dots and hyphens.
    private static func isBucket(_ text: String) -> Bool {
      (3...63).contains(text.utf8.count)
        && text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 46 }
    }

    /// Letters, digits and `-._~` (RFC 3986 section 2.3).
    static func isPlain(_ text: String) -> Bool {
      !text.isEmpty
        && text.utf8.allSatisfy {
          (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "-._~".utf8.contains($0)
        }
    }
  }
}

extension OptionReader {
  /// What `content:` takes.
  static let contentSchema = OptionSchema([
    Option("s3", .text, required: true, "https://HOST/BUCKET/PREFIX: an endpoint of S3, a bucket, a prefix if wanted"),
    Option("region", .text, default: .text("us-east-1"), "the bucket's region"),
    Option("access-key", .text, required: true, "the name of the key"),
    Option("secret-key", .text, required: true, "the key: write ${NAME} and keep it in the environment"),
    Option("ca", .text, required: false, "a PEM file with the authorities to trust instead of the system's"),
  ])

  /// Reads `content:`; nil, with a complaint, if it cannot be used.
  mutating func content(_ node: Node?) -> Topology.ContentLocation? {
    guard let node, !node.isNull else { return .folder }
    let before = complaints.count
    let values = read(node, Self.contentSchema, in: "`content`")
    guard complaints.count == before else { return nil }
    for name in ["region", "access-key", "secret-key"] {
      let text = values.text(name) ?? ""
      // It goes into a field of HTTP; what it is, nobody is told.
      if text.isEmpty || !text.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) || name == "region" && text.contains("/") {
        complain(node[name]?.mark ?? node.mark, "`\(name)` takes a word without blanks or other characters than ASCII")
      }
    }
    let settings = Topology.S3Settings(
      url: values.text("s3") ?? "", region: values.text("region") ?? "", accessKey: values.text("access-key") ?? "",
      secretKey: values.text("secret-key") ?? "", authorities: values.text("ca"))
    guard let settings else {
      complain(
        node["s3"]?.mark ?? node.mark, "`s3` takes http(s)://HOST[:PORT]/BUCKET[/PREFIX]",
        "for example https://s3.eu-central-1.amazonaws.com/my-mail/content")
      return nil
    }
    return complaints.count == before ? .s3(settings) : nil
  }
}

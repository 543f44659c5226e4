/// One message on its way through a flow: an id, a key, attributes, annotations, content and history.
///
/// It is a view on a record's headers: what a stage does not touch is never decoded. Attributes come from the source and
/// do not change (for mail: the envelope); annotations are what stages add.
public struct Message: Sendable {
  /// Its identity; parts of it have ids derived from this one.
  public let id: MessageID
  /// What must stay in order with others of the same key; the message's own id unless a stage sets another.
  public var key: Bytes
  /// What is carried.
  public var content: Content
  var headers: Headers
  /// What gateways are told when the stage's outcome is settled.
  private(set) var announcements: [Announcement] = []

  /// A message as a source accepts it.
  ///
  /// - Parameters:
  ///   - source: who accepted it, such as `smtp`.
  ///   - contentType: of the content, such as `message/rfc822`.
  public init(
    id: MessageID, key: Bytes? = nil, flow: String, source: String, contentType: String, content: Content,
    attributes: [(name: String, value: String)] = [], traceParent: TraceParent? = nil
  ) {
    self.id = id
    let text = id.description
    self.key = key ?? Bytes(text)
    self.content = content
    var headers = Headers()
    headers.append(HeaderName.id, text.utf8)
    headers.append(HeaderName.type, "mailflow.message".utf8)
    headers.append(HeaderName.source, source.utf8)
    headers.append(HeaderName.specVersion, "1.0".utf8)
    headers.append(HeaderName.time, id.time.description.utf8)
    headers.append(HeaderName.contentType, contentType.utf8)
    if let traceParent { headers.append(HeaderName.traceParent, traceParent.description.utf8) }
    headers.append(HeaderName.version, MessageCodec.versionText.utf8)
    headers.append(HeaderName.flow, flow.utf8)
    for attribute in attributes { headers.append(HeaderName.attribute + attribute.name, attribute.value.utf8) }
    self.headers = headers
  }

  init(id: MessageID, key: Bytes, content: Content, headers: Headers) {
    self.id = id
    self.key = key
    self.content = content
    self.headers = headers
  }

  /// When it was accepted.
  public var acceptedAt: Timestamp { id.time }
  /// The flow that it is in.
  public var flow: String { headers[HeaderName.flow] ?? "" }
  /// Who accepted it.
  public var source: String { headers[HeaderName.source] ?? "" }
  /// How often the present stage has tried it before: 0 at first.
  public var failures: Int { max(0, headers.int(HeaderName.failures) ?? 0) }
  /// W3C trace context.
  public var traceParent: TraceParent? { headers[HeaderName.traceParent].flatMap { TraceParent($0) } }

  /// What the source said, such as `mail-from`.
  public func attribute(_ name: String) -> String? { headers[HeaderName.attribute + name] }
  /// What a stage has added.
  public func annotation(_ name: String) -> String? { headers[HeaderName.annotation + name] }
  /// Every attribute in the order in which the source gave them.
  public var attributes: [(name: String, value: String)] { named(HeaderName.attribute) }
  /// Every annotation in the order in which stages added them.
  public var annotations: [(name: String, value: String)] { named(HeaderName.annotation) }

  /// Adds an annotation or replaces it; nil removes it.
  ///
  /// Names are lower-case letters, digits, `-` and `.`; at most 64 KiB in all of a message, beyond which the runtime
  /// turns the outcome into a dead letter.
  public mutating func annotate(_ name: String, _ value: String?) { headers[HeaderName.annotation + name] = value }

  /// Adds an attribute or replaces it. For sources, and for stages that make parts.
  public mutating func setAttribute(_ name: String, _ value: String?) { headers[HeaderName.attribute + name] = value }

  /// Tells gateways something, when this message goes forward: on the topic `NAME.events`, settled with the outcome.
  public mutating func announce(_ announcement: Announcement) { announcements.append(announcement) }

  private func named(_ prefix: String) -> [(name: String, value: String)] {
    headers.all.compactMap { header in
      guard header.name.hasPrefix(prefix) else { return nil }
      return (String(header.name.dropFirst(prefix.count)), String(decoding: header.value, as: UTF8.self))
    }
  }
}

/// An event for gateways: a CloudEvent whose content is a JSON object.
public struct Announcement: Sendable {
  /// What it is, such as `mail.stored`.
  public let type: String
  /// What must stay in order with others of the same key.
  public let key: Bytes
  /// What happened.
  public let content: JSONValue

  /// An event of a type.
  public init(_ type: String, key: Bytes, _ content: JSONValue) {
    self.type = type
    self.key = key
    self.content = content
  }
}

/// The header names of a record on the wire: CloudEvents 1.0 (Kafka protocol binding, binary mode), W3C trace context,
/// and our own.
enum HeaderName {
  static let id = "ce_id"
  static let type = "ce_type"
  static let source = "ce_source"
  static let specVersion = "ce_specversion"
  static let time = "ce_time"
  static let contentType = "content-type"
  static let traceParent = "traceparent"
  static let version = "mailflow-version"
  static let flow = "mailflow-flow"
  static let done = "mailflow-done"
  static let skipped = "mailflow-skipped"
  static let failures = "mailflow-failures"
  static let firstFailure = "mailflow-first-failure"
  static let spent = "mailflow-spent-ms"
  static let due = "mailflow-due-ms"
  static let queued = "mailflow-queued-ms"
  static let reference = "mailflow-content"
  static let history = "mailflow-history"
  static let parent = "mailflow-parent"
  static let attribute = "mailflow-attribute-"
  static let annotation = "mailflow-annotation-"
  static let deadStage = "mailflow-dead-stage"
  static let deadFrom = "mailflow-dead-from"
  static let deadReason = "mailflow-dead-reason"
  static let deadMessage = "mailflow-dead-message"
  static let deadFirst = "mailflow-dead-first"
  static let deadLast = "mailflow-dead-last"
  static let deadAttempts = "mailflow-dead-attempts"
}

/// A W3C `traceparent` (Trace Context level 1, section 3.2): which distributed trace a message belongs to.
public struct TraceParent: Sendable, Hashable, CustomStringConvertible {
  /// As it travels: `00-TRACE-SPAN-FLAGS`.
  public let description: String

  /// Reads `00-` 32 digits `-` 16 digits `-` 2 digits, all lower-case hexadecimal and not all zero; nil otherwise.
  public init?(_ text: String) {
    let fields = text.split(separator: "-", omittingEmptySubsequences: false)
    guard fields.map(\.utf8.count) == [2, 32, 16, 2], fields[0] == "00",
      fields.allSatisfy({ $0.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) } }),
      fields[1].contains(where: { $0 != "0" }), fields[2].contains(where: { $0 != "0" })
    else { return nil }
    description = text
  }

  /// A new, sampled trace.
  public init(random: any RandomSource) {
    description = "00-\(Self.id(random))\(Self.id(random))-\(Self.id(random))-01"
  }

  private init(trace: String, flags: Substring, _ random: any RandomSource) {
    description = "00-\(trace)-\(Self.id(random))-\(flags)"
  }

  private static func id(_ random: any RandomSource) -> String {
    let digits = String(max(1, random.next()), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// The trace: 32 digits.
  public var traceID: String { String(description.dropFirst(3).prefix(32)) }

  /// A new span of the same trace.
  public func child(random: any RandomSource) -> TraceParent {
    TraceParent(trace: traceID, flags: description.suffix(2), random)
  }
}

public import Pipeline

/// What a list of messages shows of one, and what finds it: read once, when it is stored.
public struct MessageSummary: Sendable, Hashable {
  /// `Message-ID` without angle brackets; nil: it has none.
  public var messageID: String?
  /// `From`, `To` and `Subject` for a person; empty if absent.
  public var from: String
  /// See `from`.
  public var to: String
  /// See `from`.
  public var subject: String
  /// `Date`; nil if absent or not one.
  public var date: Timestamp?
  /// The beginning of the text, on one line.
  public var preview: String
  /// Whether a part is meant to be saved rather than shown.
  public var hasAttachment: Bool
  /// Message-IDs of what it answers; empty in a summary that was read back.
  public var references: [String]

  /// The longest of each text, in bytes of UTF-8.
  public static let maximumText = 1024

  /// A summary that was read before.
  public init(
    messageID: String?, from: String, to: String, subject: String, date: Timestamp?, preview: String,
    hasAttachment: Bool, references: [String] = []
  ) {
    self.messageID = messageID
    self.from = from
    self.to = to
    self.subject = subject
    self.date = date
    self.preview = preview
    self.hasAttachment = hasAttachment
    self.references = references
  }

  /// Reads a message as far as it can be read.
  public init(_ message: Bytes) { self.init(MIMEMessage(message)) }

  /// What a list shows of a message whose structure was read already.
  public init(_ message: MIMEMessage) {
    let header = message.header
    func text(_ name: String) -> String { Self.bounded(header.first(name)?.display() ?? "") }
    messageID = header.messageID
    from = text("from")
    to = text("to")
    subject = text("subject")
    date = (header.first("date")?.unfolded).flatMap { MailDate($0) }?.time
    preview = message.preview()
    hasAttachment = message.hasAttachment
    references = header.references
  }

  private static func bounded(_ text: String) -> String {
    guard text.utf8.count > maximumText else { return text }
    var kept = ""
    var size = 0
    for character in text {
      size += character.utf8.count
      guard size <= maximumText else { break }
      kept.append(character)
    }
    return kept
  }
}

extension HeaderSection {
  /// The value of `Message-ID` without angle brackets (RFC 5322 section 3.6.4), at most 998 bytes; nil: there is none.
  public var messageID: String? { identifier("message-id") }

  /// The Message-IDs in `In-Reply-To` and `References`, without angle brackets: of the former the first 4, of the latter
  /// the first one, which began the conversation, and the last 15.
  public var references: [String] {
    let chain = identifiers("references")
    var found: [String] = []
    for name in identifiers("in-reply-to").prefix(4) + chain.prefix(1) + chain.dropFirst().suffix(15)
    where !found.contains(name) { found.append(name) }
    return found
  }

  /// What stands between angle brackets in the field of that name, without space; nil: nothing does.
  func identifier(_ name: String) -> String? {
    guard let value = first(name)?.unfolded else { return nil }
    let opened = value.firstIndex(of: UInt8(ascii: "<")).map { value[($0 + 1)...] } ?? value[...]
    return Self.identifier(opened.prefix { $0 != UInt8(ascii: ">") })
  }

  /// What stands between any pair of angle brackets in the first 64 KiB of the field.
  private func identifiers(_ name: String) -> [String] {
    guard let field = first(name) else { return [] }
    var rest = field.unfolded.prefix(64 * 1024)
    var found: [String] = []
    while let open = rest.firstIndex(of: UInt8(ascii: "<")) {
      rest = rest[(open + 1)...]
      guard let close = rest.firstIndex(of: UInt8(ascii: ">")) else { break }
      if let name = Self.identifier(rest[..<close]) { found.append(name) }
      rest = rest[(close + 1)...]
    }
    return found
  }

  private static func identifier(_ inner: ArraySlice<UInt8>) -> String? {
    let text = HeaderText.sanitized(HeaderText.plain(inner.prefix(998))).split(separator: " ").joined()
    return text.isEmpty ? nil : text
  }
}

import Mail
import Pipeline

/// What rules look at in one message: read once, within limits.
struct SpamFacts {
  let envelope: Envelope
  let mime: MIMEMessage
  let header: HeaderSection
  let acceptedAt: Timestamp
  let date: Timestamp?
  let subject: String
  let from: AddressList
  let text: String
  let links: [HTMLLinks.Link]
  let fileNames: [String]

  /// The most bytes of text that are looked at.
  static let maximumText = 64 * 1024

  init(_ message: Message, _ bytes: Bytes) {
    envelope = Envelope(message)
    let mime = MIMEMessage(bytes)
    self.mime = mime
    header = mime.header
    acceptedAt = message.acceptedAt
    date = header.first("date").flatMap { MailDate($0.unfolded) }?.time
    subject = header.first("subject")?.display(limit: 2048) ?? ""
    from = header.first("from").map { AddressList($0) } ?? AddressList(.empty)
    text = mime.text(limit: Self.maximumText)
    let html = mime.parts.first { $0.type.value == "text/html" && !mime.isAttachment($0) }
    links = html.map { HTMLLinks.find($0.source(limit: Self.maximumText)) } ?? []
    fileNames = mime.attachments.compactMap(\.fileName)
  }

  /// The folded text of a field, for `PhraseMatcher`.
  func folded(_ field: SpamField) -> [UInt8] {
    switch field {
    case .subject: PhraseMatcher.folded(subject.utf8)
    case .from: PhraseMatcher.folded(shown("from").utf8)
    case .to: PhraseMatcher.folded((shown("to") + " " + shown("cc")).utf8)
    case .text: PhraseMatcher.folded(text.utf8)
    case .links: PhraseMatcher.folded(links.map(\.host).joined(separator: " ").utf8)
    case .files: PhraseMatcher.folded(fileNames.joined(separator: " ").utf8)
    }
  }

  private func shown(_ name: String) -> String { header.first(name)?.display() ?? "" }
}

/// The links of a text in HTML.
enum HTMLLinks {
  struct Link: Equatable {
    /// The host that it leads to, in small letters.
    let host: String
    /// What it shows.
    let text: String
  }

  /// The most links that are looked at.
  private static let maximum = 500

  /// `<a … href="http…">text</a>`, in one pass: what does not close goes to the next tag.
  static func find(_ html: String) -> [Link] {
    var links: [Link] = []
    let bytes = Array(html.utf8)
    var at = 0
    while links.count < maximum, let open = bytes[at...].firstIndex(of: UInt8(ascii: "<")) {
      at = open + 1
      guard at + 1 < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "a"), isSpace(bytes[at + 1]) else { continue }
      let close = bytes[at...].prefix(4096).firstIndex(of: UInt8(ascii: ">")) ?? at
      guard close > at, let host = host(inTag: bytes[at..<close]) else { continue }
      let inner = bytes[(close + 1)...].prefix { $0 != UInt8(ascii: "<") }.prefix(256)
      links.append(Link(host: host, text: String(decoding: inner, as: UTF8.self)))
      at = close + 1
    }
    return links
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

  private static func host(inTag tag: ArraySlice<UInt8>) -> String? {
    let lower = tag.map { (65...90).contains($0) ? $0 | 0x20 : $0 }
    let name = Array("href".utf8)
    var at = 0
    while at + name.count < lower.count {
      guard lower[at...].starts(with: name), at == 0 || isSpace(lower[at - 1]) else {
        at += 1
        continue
      }
      let value = lower[(at + name.count)...].drop { isSpace($0) || $0 == UInt8(ascii: "=") }
        .drop { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "'") }
      return host(ofURL: value)
    }
    return nil
  }

  /// The host of `http://user@host:port/…`; nil for another scheme.
  static func host(ofURL url: ArraySlice<UInt8>) -> String? {
    for scheme in ["http://", "https://"] where url.starts(with: scheme.utf8) {
      let authority = url.dropFirst(scheme.utf8.count).prefix { !"/?#\"' <>".utf8.contains($0) }.prefix(512)
      let place = authority.lastIndex(of: UInt8(ascii: "@")).map { authority[($0 + 1)...] } ?? authority
      let host = place.first == UInt8(ascii: "[") ? place.prefix { $0 != 93 } : place.prefix { $0 != 58 }
      return host.isEmpty ? nil : String(decoding: host, as: UTF8.self)
    }
    return nil
  }
}

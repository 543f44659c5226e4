public import Pipeline

/// A part of a message, or the message itself.
public struct MIMEPart: Sendable {
  /// Its place in `MIMEMessage.parts`.
  public let index: Int
  /// The place of the part that holds it; nil: it is the message.
  public let parent: Int?
  /// How many parts it lies in.
  public let depth: Int
  /// What IMAP calls it, such as `1.2` (RFC 9051 section 6.4.5.1). A multipart that is the content of a message has no
  /// number of its own, and here an empty one.
  public internal(set) var number: String
  /// Behind the last part that it holds, in `MIMEMessage.parts`.
  public internal(set) var end: Int
  /// Header section and body, in the message; not the line break that belongs to the delimiter behind it.
  public internal(set) var range: Range<Int>
  /// The body, encoded, in the message.
  public internal(set) var bodyRange: Range<Int>
  /// The body, encoded.
  public internal(set) var body: Bytes
  /// The header section.
  public let header: HeaderSection
  /// The type in lower case such as `text/html`, and its parameters. Where it is absent or none, what stands for it:
  /// `text/plain`, in a digest `message/rfc822`.
  public let type: ContentField
  /// How the body is encoded; `identity` if nobody knows.
  public let encoding: TransferEncoding
  /// What is odd about it.
  public internal(set) var defects: MIMEMessage.Defects

  /// Whether it is of a type that holds parts, and holds some.
  public var isContainer: Bool { end > index + 1 }
  /// Whether its type is `multipart/…`.
  public var isMultipart: Bool { type.value.hasPrefix("multipart/") }
  /// Whether it is a message in a message.
  public var isMessage: Bool { Self.isMessage(type.value) }

  static func isMessage(_ type: String) -> Bool { type == "message/rfc822" || type == "message/global" }

  /// `Content-Disposition` (RFC 2183); nil: there is none.
  public var disposition: ContentField? { header.first("content-disposition").map { ContentField($0) } }

  /// The name to save it under (RFC 2183 section 2.3, else `name` of its type): its last component only, without
  /// controls, at most 255 bytes; nil: it has none.
  public var fileName: String? { FileName.cleaned(disposition?["filename"] ?? type["name"] ?? "") }

  /// `Content-ID` without angle brackets (RFC 2392); nil: it has none.
  public var contentID: String? { header.identifier("content-id") }

  /// Number of bytes of `content()`. Costs a pass over the body, if that is encoded.
  public var size: Int { TransferDecoder(encoding, body).remaining() }

  /// The body, decoded: at most `limit` bytes. Not copied, if it is not encoded.
  public func content(limit: Int = .max) -> Bytes { TransferDecoder.decode(encoding, body, limit: limit) }

  /// A range of the body, decoded; empty beyond its end. What comes before it is decoded too, and thrown away in pieces.
  public func content(_ range: Range<Int>) -> Bytes {
    guard encoding != .identity else { return body[range.clamped(to: 0..<body.count)] }
    var decoder = TransferDecoder(encoding, body)
    var skipped = 0
    while skipped < range.lowerBound {
      let piece = decoder.next(min(range.lowerBound - skipped, 64 * 1024))
      if piece.isEmpty { return .empty }
      skipped += piece.count
    }
    return decoder.next(range.count)
  }
}

/// Names of files that come from outside.
enum FileName {
  /// The last component, without controls and space at its ends, at most 255 bytes; nil: nothing is left.
  static func cleaned(_ name: String) -> String? {
    let last = name.unicodeScalars.split { $0 == "/" || $0 == "\\" }.last ?? "".unicodeScalars[...]
    var kept = ""
    for character in String(String.UnicodeScalarView(last.filter { !HeaderText.isControl($0) })) {
      if kept.isEmpty, character.isWhitespace { continue }
      guard kept.utf8.count + character.utf8.count <= 255 else { break }
      kept.append(character)
    }
    while let end = kept.last, end.isWhitespace { kept.removeLast() }
    return kept.isEmpty || kept == "." || kept == ".." ? nil : kept
  }
}

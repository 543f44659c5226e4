import Mail
import Pipeline

/// How folders and messages are shown. Scripts rely on the names: members may be added, none renamed.
enum MailboxJSON {
  /// Numbers of the store are shown as texts, so that they may become something else.
  static func id(_ number: Int64) -> String { String(number) }

  static func folder(_ folder: Folder) -> JSONValue {
    [
      "id": .string(id(folder.id)), "name": .string(folder.name), "role": .optional(folder.role?.rawValue),
      "total": .int(folder.total), "unread": .int(folder.unread),
    ]
  }

  /// - Parameters:
  ///   - snippet: of a search; nil: this is none.
  ///   - parts: of one message that is looked at; nil: this is a list.
  static func message(
    _ message: MailboxMessage, snippet: JSONValue? = nil, parts: MIMEMessage? = nil
  ) -> JSONValue {
    let summary = message.summary
    var members: [JSONValue.Member] = []
    func add(_ name: String, _ value: JSONValue) { members.append(.init(name, value)) }
    add("id", .string(message.id.description))
    add("threadId", .string(id(message.thread)))
    add("messageId", .optional(summary.messageID))
    add("subject", .string(summary.subject))
    add("from", .string(summary.from))
    add("to", .string(summary.to))
    add("date", .optional(summary.date?.description))
    add("received", .string(message.received.description))
    add("size", .int(message.size))
    add("flags", .array(message.flags.names.map { .string($0) }))
    add("folder", .string(id(message.folder)))
    add("hasAttachment", .bool(summary.hasAttachment))
    add("preview", .string(summary.preview))
    if let snippet { add("snippet", snippet) }
    if let parts { add("parts", .array(parts.parts.filter { !$0.number.isEmpty }.map { part($0, of: parts) })) }
    return .object(members)
  }

  /// A part by the number that IMAP gives it, in the order in which they stand.
  private static func part(_ part: MIMEPart, of message: MIMEMessage) -> JSONValue {
    [
      "number": .string(part.number), "type": .string(part.type.value), "charset": .optional(part.type["charset"]),
      "disposition": .optional(part.disposition?.value), "fileName": .optional(part.fileName),
      "contentId": .optional(part.contentID), "size": .int(part.size),
      "isAttachment": .bool(message.isAttachment(part)),
    ]
  }
}

/// Types as they are given out.
enum ContentType {
  /// What a part says that it is, if that is a type; with the charset that its bytes are in.
  static func safe(_ part: MIMEPart) -> String {
    let type = part.type.value
    guard type.utf8.allSatisfy({ isToken($0) || $0 == UInt8(ascii: "/") }), type.split(separator: "/").count == 2 else {
      return "application/octet-stream"
    }
    guard type.hasPrefix("text/"), let charset = part.type["charset"], !charset.isEmpty,
      charset.utf8.allSatisfy(isToken)
    else { return type }
    return "\(type); charset=\(charset)"
  }

  /// RFC 9110 section 5.6.2.
  private static func isToken(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
      || "!#$%&'*+-.^_`|~".utf8.contains(byte)
  }

  /// Everything but letters, digits, `.`, `-` and `_`.
  static func percentEncoded(_ text: String) -> String {
    var output = ""
    for byte in text.utf8 {
      if (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || "-._".utf8.contains(byte)
      {
        output.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        output += "%" + (digits.count < 2 ? "0" : "") + digits
      }
    }
    return output
  }
}

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

  static func message(_ message: MailboxMessage) -> JSONValue {
    let summary = message.summary
    return [
      "id": .string(message.id.description), "messageId": .optional(summary.messageID),
      "subject": .string(summary.subject), "from": .string(summary.from), "to": .string(summary.to),
      "date": .optional(summary.date?.description), "received": .string(message.received.description),
      "size": .int(message.size), "flags": .array(message.flags.names.map { .string($0) }),
      "folder": .string(id(message.folder)), "hasAttachment": .bool(summary.hasAttachment),
      "preview": .string(summary.preview),
    ]
  }
}

public import Pipeline

/// A mailbox: who owns it, and the number that the store knows it by.
public struct Mailbox: Sendable, Hashable {
  /// The store's number, never given to another.
  public let id: Int64
  /// The address of its owner, normalized.
  public let address: EmailAddress
}

/// What a folder is for (RFC 6154 has the same ones as special uses). Every mailbox has one folder of each.
public enum FolderRole: String, Sendable, Hashable, CaseIterable {
  /// Where mail arrives.
  case inbox
  /// Where spam arrives.
  case junk
  /// What the owner has sent.
  case sent
  /// What the owner has not sent yet.
  case drafts
  /// What the owner has thrown away.
  case trash
  /// What the owner has put aside.
  case archive

  /// The name of the folder when it is made.
  public var defaultName: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

/// A folder of a mailbox.
public struct Folder: Sendable, Hashable {
  /// The store's number.
  public let id: Int64
  /// As its owner calls it.
  public let name: String
  /// What it is for; nil: one that the owner made.
  public let role: FolderRole?
  /// Messages in it.
  public let total: Int
  /// Those of them that were not read.
  public let unread: Int
  /// UIDVALIDITY (RFC 9051 section 2.3.1.1).
  public let uidValidity: Int64
  /// The UID that the next message gets.
  public let uidNext: Int64
  /// Grows with every change in it (RFC 7162).
  public let changeCounter: Int64
}

/// The flags of a message (RFC 9051 section 2.3.2).
public struct MessageFlags: OptionSet, Sendable, Hashable {
  /// The bits, as they are stored: they keep their meaning.
  public let rawValue: Int64
  /// From bits.
  public init(rawValue: Int64) { self.rawValue = rawValue }
  /// `\Seen`.
  public static let seen = MessageFlags(rawValue: 1)
  /// `\Answered`.
  public static let answered = MessageFlags(rawValue: 2)
  /// `\Flagged`.
  public static let flagged = MessageFlags(rawValue: 4)
  /// `\Deleted`.
  public static let deleted = MessageFlags(rawValue: 8)
  /// `\Draft`.
  public static let draft = MessageFlags(rawValue: 16)

  /// The flags as words, without backslashes, in a fixed order.
  public var names: [String] {
    let all: [(MessageFlags, String)] = [
      (.seen, "seen"), (.answered, "answered"), (.flagged, "flagged"), (.deleted, "deleted"), (.draft, "draft"),
    ]
    return all.filter { contains($0.0) }.map(\.1)
  }
}

/// Whose a message is, and when it came.
public struct StoredPlace: Sendable, Hashable {
  /// The number of the mailbox.
  public let mailbox: Int64
  /// The id under which it knows the message.
  public let id: MessageID
  /// When it was stored.
  public let received: Timestamp
}

/// A message as a list shows it.
public struct MailboxMessage: Sendable, Hashable {
  /// The id under which the mailbox knows it: the pipeline's id of the message, or of the mailbox's part of it.
  public let id: MessageID
  /// The number of the folder that it is in.
  public let folder: Int64
  /// Its UID there.
  public let uid: Int64
  /// Its flags.
  public let flags: MessageFlags
  /// When it was stored (INTERNALDATE).
  public let received: Timestamp
  /// Bytes of the raw message, our trace headers included.
  public let size: Int
  /// The conversation that it belongs to; a number of this mailbox.
  public let thread: Int64
  /// What its headers and the beginning of its text say.
  public let summary: MessageSummary
  /// Where a list goes on behind it.
  public let cursor: MessageCursor
}

/// A place in a list of messages, newest first: behind one message, whether that still exists or not.
public struct MessageCursor: Sendable, Hashable, CustomStringConvertible {
  let received: Int64
  let row: Int64

  init(received: Int64, row: Int64) {
    self.received = received
    self.row = row
  }

  /// Reads what `description` wrote; nil for anything else.
  public init?(_ text: some StringProtocol) {
    let digits = Array(text.utf8)
    guard digits.count == 32, digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
      let high = UInt64(String(decoding: digits[..<16], as: UTF8.self), radix: 16),
      let low = UInt64(String(decoding: digits[16...], as: UTF8.self), radix: 16)
    else { return nil }
    received = Int64(bitPattern: high)
    row = Int64(bitPattern: low)
  }

  /// 32 hexadecimal digits; what they mean may change.
  public var description: String {
    [received, row].map { number in
      let digits = String(UInt64(bitPattern: number), radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}

public import Pipeline

/// Finds messages by what is in them. One protocol for every engine; SQLite's FTS5 is the embedded one.
///
/// A mailbox never sees what is in another: every call names the mailbox. What was added is found when `add` returns.
public protocol SearchIndex: Sendable {
  /// Adds documents, all or none. One that is there already (the same mailbox and id) replaces it: a repeat is found
  /// once.
  func add(_ documents: [SearchDocument]) async throws(MailStoreError)

  /// Takes messages out. What is not there is passed over.
  func remove(_ ids: [MessageID], of mailbox: Int64) async throws(MailStoreError)

  /// Takes all messages of a mailbox out, some in each transaction; how many there were.
  func removeAll(of mailbox: Int64) async throws(MailStoreError) -> Int

  /// What matches, newest first, at most `limit` (1 to 1,000), behind `cursor` if one is given.
  func search(
    _ query: SearchQuery, in mailbox: Int64, after cursor: Int64?, limit: Int
  ) async throws(MailStoreError) -> [SearchHit]

  /// Whether it can be used now.
  func probe() async throws(MailStoreError)

  /// Frees everything. Later calls are refused.
  func close() async
}

/// What is found of a message.
public struct SearchDocument: Sendable, Hashable {
  /// The number of the mailbox.
  public var mailbox: Int64
  /// The id under which the mailbox knows it.
  public var id: MessageID
  /// When it was received: the order of results, and what `before:` and `after:` look at.
  public var received: Timestamp
  /// Its subject.
  public var subject: String
  /// Who wrote it: names and addresses.
  public var from: String
  /// Who else has it, `Cc` included.
  public var to: String
  /// Its text, in the order in which it is read; beyond `maximumText` it is not found.
  public var text: String
  /// Names of its attachments.
  public var attachments: [String]
  /// Whether it has any, named or not.
  public var hasAttachment: Bool

  /// The most bytes of text that are indexed of one message.
  public static let maximumText = 128 * 1024

  /// A document.
  public init(
    mailbox: Int64, id: MessageID, received: Timestamp, subject: String, from: String, to: String, text: String,
    attachments: [String] = [], hasAttachment: Bool = false
  ) {
    self.mailbox = mailbox
    self.id = id
    self.received = received
    self.subject = subject
    self.from = from
    self.to = to
    self.text = text
    self.attachments = attachments
    self.hasAttachment = hasAttachment
  }
}

/// A message that was found.
public struct SearchHit: Sendable, Hashable {
  /// Which.
  public let id: MessageID
  /// Where a list goes on behind it.
  public let cursor: Int64
  /// The words around the first place that matches, as HTML with the matching words in `<mark>` and everything else
  /// escaped (as RFC 8621 section 5 has it); nil: nothing of the text matches, the query is about something else.
  public let snippet: String?
}

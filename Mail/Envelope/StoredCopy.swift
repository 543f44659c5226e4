public import Pipeline

/// Which copy of a message in the mailbox store a message in the pipeline stands for, behind the stage `store`.
public struct StoredCopy: Sendable, Hashable {
  /// The address of the mailbox.
  public let mailbox: EmailAddress
  /// The number of the folder.
  public let folder: Int64
  /// The UID in the folder.
  public let uid: Int64
  /// The id under which the mailbox knows it.
  public let id: MessageID

  /// A copy in a mailbox.
  public init(mailbox: EmailAddress, _ stored: StoredMessage) {
    self.mailbox = mailbox
    folder = stored.folder
    uid = stored.uid
    id = stored.id
  }

  /// What `store` noted; nil: it has not been there. A message for one mailbox carries it in annotations, a part for
  /// one of several in attributes.
  public init?(_ message: Message) {
    func value(_ name: String) -> String? { message.annotation(name) ?? message.attribute(name) }
    guard let mailbox = value(MailAnnotations.mailbox).flatMap({ EmailAddress($0, allowingUTF8: true) }),
      let folder = value(MailAnnotations.folder).flatMap({ Int64($0) }),
      let uid = value(MailAnnotations.uid).flatMap({ Int64($0) }),
      let id = value(MailAnnotations.storedID).flatMap({ MessageID($0) })
    else { return nil }
    self.mailbox = mailbox
    self.folder = folder
    self.uid = uid
    self.id = id
  }

  /// Names and values of the annotations or attributes that say so.
  public var values: [(name: String, value: String)] {
    [
      (MailAnnotations.mailbox, mailbox.description), (MailAnnotations.folder, String(folder)),
      (MailAnnotations.uid, String(uid)), (MailAnnotations.storedID, id.description),
    ]
  }
}

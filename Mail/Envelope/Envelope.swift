public import Pipeline

/// The names under which a message's attributes carry the envelope.
public enum MailAttributes {
  /// Reverse-path without brackets; empty for `<>`.
  public static let mailFrom = "mail-from"
  /// Recipients without brackets, one a line.
  public static let rcptTo = "rcpt-to"
  /// What the client called itself.
  public static let helo = "helo"
  /// The client's IP address.
  public static let remoteAddress = "remote-address"
  /// The client's name by reverse DNS, if it was looked up and leads back to the address.
  public static let remoteName = "remote-name"
  /// How it came, as in `Received`: `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA`, `UTF8SMTP…`, `HTTP`.
  public static let protocolName = "protocol"
  /// Version and cipher suite of TLS, if it came so: `TLSv1.3 TLS_AES_256_GCM_SHA384`.
  public static let encryption = "encryption"
  /// `7BIT` or `8BITMIME`.
  public static let body = "body"
  /// The name of the host that accepted it.
  public static let receivedBy = "received-by"
  /// The address of the user who authenticated to send it.
  public static let authenticated = "authenticated"
}

/// The names of annotations that stages of mail agree on.
public enum MailAnnotations {
  /// The `Message-ID`, without angle brackets.
  public static let messageID = "message-id"
  /// `yes`: what `store` files in Junk.
  public static let spam = "spam"
  /// Header fields that earlier stages want before the message when it is stored, such as `Authentication-Results`:
  /// whole lines that end in CRLF.
  public static let traceHeaders = "trace-headers"
  /// The address of the mailbox that the message was stored in.
  public static let mailbox = "mailbox"
  /// The id of the folder there.
  public static let folder = "folder"
  /// Its UID in the folder (RFC 9051 section 2.3.1.1).
  public static let uid = "uid"
  /// The id under which the mailbox store knows it.
  public static let storedID = "stored-id"
}

/// Who sends a message to whom, and how it reached us.
public struct Envelope: Sendable, Hashable {
  /// Reverse-path; nil: the null reverse-path of bounces.
  public var sender: EmailAddress?
  /// Whom it is for.
  public var recipients: [EmailAddress]
  /// What the client called itself.
  public var helo: String?
  /// The client's IP address.
  public var remoteAddress: String?
  /// The client's name by reverse DNS.
  public var remoteName: String?
  /// How it came, such as `ESMTP`; see `MailAttributes.protocolName`.
  public var protocolName: String
  /// How it was encrypted, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`; nil: it was not.
  public var encryption: String?
  /// Whether the client declared an 8-bit body (RFC 6152).
  public var isEightBit: Bool
  /// The name of the host that accepted it.
  public var receivedBy: String?
  /// The user who authenticated to send it.
  public var authenticated: EmailAddress?

  /// An envelope as a gateway accepts it.
  public init(
    sender: EmailAddress?, recipients: [EmailAddress], helo: String? = nil, remoteAddress: String? = nil,
    remoteName: String? = nil, protocolName: String = "ESMTP", encryption: String? = nil,
    isEightBit: Bool = false, receivedBy: String? = nil, authenticated: EmailAddress? = nil
  ) {
    self.sender = sender
    self.recipients = recipients
    self.helo = helo
    self.remoteAddress = remoteAddress
    self.remoteName = remoteName
    self.protocolName = protocolName
    self.encryption = encryption
    self.isEightBit = isEightBit
    self.receivedBy = receivedBy
    self.authenticated = authenticated
  }

  /// The envelope of a message in the pipeline. Addresses that cannot be read are left out.
  public init(_ message: Message) {
    func address(_ name: String) -> EmailAddress? {
      message.attribute(name).flatMap { EmailAddress($0, allowingUTF8: true) }
    }
    self.init(
      sender: address(MailAttributes.mailFrom),
      recipients: Self.recipients(message.attribute(MailAttributes.rcptTo) ?? ""),
      helo: message.attribute(MailAttributes.helo), remoteAddress: message.attribute(MailAttributes.remoteAddress),
      remoteName: message.attribute(MailAttributes.remoteName),
      protocolName: message.attribute(MailAttributes.protocolName) ?? "SMTP",
      encryption: message.attribute(MailAttributes.encryption),
      isEightBit: message.attribute(MailAttributes.body) == "8BITMIME",
      receivedBy: message.attribute(MailAttributes.receivedBy), authenticated: address(MailAttributes.authenticated))
  }

  /// The attributes of a message with this envelope, for `Intake.accept`.
  public var attributes: [(name: String, value: String)] {
    var list = [
      (name: MailAttributes.mailFrom, value: sender.map(\.description) ?? ""),
      (name: MailAttributes.rcptTo, value: Self.text(recipients)),
    ]
    func add(_ name: String, _ value: String?) { if let value { list.append((name, value)) } }
    add(MailAttributes.helo, helo)
    add(MailAttributes.remoteAddress, remoteAddress)
    add(MailAttributes.remoteName, remoteName)
    add(MailAttributes.protocolName, protocolName)
    add(MailAttributes.encryption, encryption)
    add(MailAttributes.body, isEightBit ? "8BITMIME" : "7BIT")
    add(MailAttributes.receivedBy, receivedBy)
    add(MailAttributes.authenticated, authenticated?.description)
    return list
  }

  /// The value of `rcpt-to` for these recipients.
  public static func text(_ recipients: [EmailAddress]) -> String {
    recipients.map(\.description).joined(separator: "\n")
  }

  private static func recipients(_ text: String) -> [EmailAddress] {
    text.split(separator: "\n").compactMap { EmailAddress($0, allowingUTF8: true) }
  }
}

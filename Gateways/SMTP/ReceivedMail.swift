public import Mail
public import Network
public import Pipeline

/// One mail transaction that a client has completed and that nobody has taken charge of yet.
public struct ReceivedMail: Sendable {
  /// How it came.
  public struct Transmission: Sendable, Hashable {
    /// After EHLO rather than HELO.
    public var isExtended: Bool
    /// With SMTPUTF8.
    public var isInternational = false
    /// How it was encrypted; nil: it was not.
    public var tls: TLSDescription?

    /// Version and cipher suite of TLS, for trace fields.
    public var encryption: String? { tls.map { "\($0.version) \($0.cipher)" } }

    /// Its name in trace fields (RFC 3848, RFC 6531 section 4.3): `SMTP`, `ESMTP`, `ESMTPS`, `UTF8SMTP`, `UTF8SMTPS`.
    public var name: String {
      guard isExtended else { return "SMTP" }  // there is none for HELO within TLS
      return (isInternational ? "UTF8SMTP" : "ESMTP") + (tls == nil ? "" : "S")
    }
  }

  /// Where failures are reported; nil for `<>`.
  public var reversePath: EmailAddress?
  /// At least one, each once, in the order in which they were named; every one of them is known to the directory.
  public var recipients: [EmailAddress]
  /// How the client called itself: a domain or an address literal, not to be trusted.
  public var helo: String
  /// The client's IP address, without port.
  public var remoteAddress: String
  /// How it came.
  public var transmission: Transmission
  /// What the client declared.
  public var body: SMTPBodyType
  /// The message as it was received, byte for byte, after dot-unstuffing, or as its chunks were.
  public var content: [UInt8]
  /// When the end of the message was read.
  public var received: Timestamp
}

/// Takes charge of mail.
public protocol MailAcceptor: Sendable {
  /// Takes charge of `mail`, or says why not. The client waits, for up to ten minutes (RFC 5321 section 4.5.3.2.6), so
  /// answer in seconds.
  ///
  /// `.accepted` only once it is durable: from then on the mail is ours, and the client forgets it. Returns soon when its
  /// task is cancelled: the service ends.
  func accept(_ mail: ReceivedMail) async -> AcceptResult
}

/// What an acceptor says.
public enum AcceptResult: Sendable, Hashable {
  /// It is durable, and found under `id`: `250`.
  case accepted(id: String)
  /// Nothing happened, try again later: `451 4.3.0`.
  case unavailable
  /// Nothing happened, there is no room: `452 4.3.1`.
  case storageFull
  /// It is not wanted. Anything but a 4xx or 5xx reply is answered as `.unavailable`.
  case refused(SMTPReply)
}

/// Knows who has a mailbox here.
public protocol RecipientDirectory: Sendable {
  /// Whether mail for `address` is taken. The client waits; returns soon when its task is cancelled. `postmaster` alone is asked with the gateway's own domain.
  func resolve(_ address: EmailAddress) async -> RecipientStatus
}

/// What a directory says of a recipient.
public enum RecipientStatus: Sendable, Hashable {
  /// Mail for it is taken: `250 2.1.5`.
  case known
  /// Its domain is ours, the mailbox is not there: `550 5.1.1`.
  case unknown
  /// Its domain is not ours: `550 5.7.1`.
  case notLocal
  /// It is over quota, perhaps not for long: `452 4.2.2`.
  case overQuota
  /// It is full until its owner does something: `552 5.2.2`.
  case full
  /// Not to be found out now: `451 4.3.0`.
  case unavailable
}

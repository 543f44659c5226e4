/// What a server tells its clients and how much it takes from them; shared by all sessions of a gateway.
public struct SMTPSessionConfiguration: Sendable, Hashable {
  /// Our name, in the greeting and in trace headers: a domain.
  public var hostname: String
  /// What EHLO lists behind the name, in order, besides SIZE and STARTTLS.
  public var extensions: [String] = [
    "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES",
  ]
  /// Whether a client in plain may go over to TLS.
  public var offersTLS = false
  /// Whether a client in plain must do so before it sends mail (RFC 3207 section 4: not for a public MX).
  public var requiresTLS = false
  /// The domain that `postmaster` alone belongs to; the hostname if nil.
  public var postmasterDomain: String?
  /// Octets of a message.
  public var maximumMessageSize = 50 * 1024 * 1024
  /// Recipients of a message; RFC 5321 section 4.5.3.1.8 asks for at least 100. Those beyond it get a 452; the connection
  /// is closed at twice as many.
  public var maximumRecipients = 1000
  /// Errors of a client (5xx replies), unknown recipients included, after which its connection is closed.
  public var maximumErrors = 20
  /// Commands without an accepted message between them, RCPT not counted, after which the connection is closed.
  public var maximumIdleCommands = 100
  /// Command lines with a bare CR or LF after which the connection is closed.
  public var maximumBareLineEndings = 3
  /// Messages of one connection; at the next one it is closed.
  public var maximumMessages = 20_000
  /// How clients that make errors are slowed down; nil: not at all.
  public var tarpit: Tarpit? = Tarpit()
  /// How long a client may take.
  public var timeLimits = TimeLimits()

  /// A server called `hostname`, with the usual limits.
  public init(hostname: String) { self.hostname = hostname }

  /// How the answers to a client's errors wait, the longer the more there were: twice as long at each.
  public struct Tarpit: Sendable, Hashable {
    /// Errors (5xx replies) that are answered at once.
    public var free = 4
    /// How long the answer to the next one waits.
    public var first = Duration.milliseconds(500)
    /// The longest wait; below what clients allow for an answer (RFC 5321 section 4.5.3.2: minutes).
    public var longest = Duration.seconds(10)

    /// Half a second to ten behind the fourth error.
    public init() {}

    /// What the answer to error number `count` waits.
    func delay(_ count: Int) -> Duration {
      guard count > free else { return .zero }
      return min(longest, first * (1 << min(20, count - free - 1)))
    }
  }

  /// How long a client may take (RFC 5321 section 4.5.3.2 has the minima).
  public struct TimeLimits: Sendable, Hashable {
    /// From a reply to the end of the next command line, however slowly it drips in.
    public var command = Duration.seconds(300)
    /// From 354 to the first octet of the message.
    public var dataStart = Duration.seconds(120)
    /// From one block of the message to the next.
    public var dataBlock = Duration.seconds(180)
    /// For a whole message.
    public var message = Duration.seconds(3600)
    /// For what a load balancer says in front of all.
    public var proxyHeader = Duration.seconds(5)
    /// For a TLS handshake.
    public var handshake = Duration.seconds(30)

    /// Those of RFC 5321, and an hour for a message.
    public init() {}
  }
}

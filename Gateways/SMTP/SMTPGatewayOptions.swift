public import Network
public import Pipeline

/// What a topology may set for an SMTP gateway.
public struct SMTPGatewayOptions: StageOptions, Hashable {
  /// What can be set.
  public static let schema = OptionSchema([
    Option("listen", .address, default: .text("127.0.0.1:2525"), "Address and port to accept connections at"),
    Option(
      "tls-certificate", .text, default: .text("self-signed"),
      "PEM file with the certificate and its chain, taken anew when it changes; self-signed: one made in the data "
        + "folder; none: no TLS"),
    Option("tls-key", .text, required: false, "PEM file with its key, by default the certificate's file"),
    Option(
      "tls-listen", .address, required: false,
      "Address and port for TLS from the first byte, besides STARTTLS at listen"
    ),
    Option(
      "requires-tls", .boolean, default: .boolean(false), "Whether mail is taken by TLS only; not for a public MX"),
    Option(
      "hostname", .text, required: false, "This server's name in greetings and trace headers, by default the machine's"),
    Option("max-message-size", .size(1024...1 << 30), default: .integer(50 << 20), "Octets of a message"),
    Option(
      "max-recipients", .integer(1...1000), default: .integer(1000),
      "Recipients of a message; others are put off to a further transaction"),
    Option("max-connections", .integer(1...1_000_000), default: .integer(10_000), "Connections at a time"),
    Option(
      "max-connections-per-address", .integer(1...1_000_000), default: .integer(50),
      "Connections at a time from one IPv4 address or IPv6 /64 network; loopback is not counted"),
    Option(
      "connections-per-minute", .integer(0...1_000_000), default: .integer(600),
      "New connections from one address (as above) in a minute; 0: any number"),
    Option(
      "messages-per-minute", .integer(0...1_000_000), default: .integer(1200),
      "Messages from one address in a minute; those beyond it are put off with 450; 0: any number"),
    Option(
      "recipients-per-minute", .integer(0...1_000_000), default: .integer(6000),
      "Recipients named from one address in a minute; those beyond it are put off with 450; 0: any number"),
    Option(
      "max-messages", .integer(1...1_000_000), default: .integer(20_000),
      "Messages of one connection, which is closed at the next one"),
    Option(
      "limits-loopback", .boolean, default: .boolean(false),
      "Whether limits of an address and delays hold for clients on this machine, too; for tests"),
    Option(
      "proxy-protocol", .list, default: .list([]),
      "Addresses and networks (10.0.0.0/8) of load balancers that say by the PROXY protocol, version 1 or 2, who their "
        + "client is, and have to; from others it is refused"),
    Option(
      "max-memory", .size(1 << 20...1 << 40), default: .integer(512 << 20),
      "Octets of all messages that are arriving; beyond it they are refused with 452"),
    Option(
      "max-errors", .integer(1...1000), default: .integer(20), "Errors of a client after which its connection is closed"
    ),
    Option(
      "tarpit-after", .integer(0...1000), default: .integer(4),
      "Errors of a client after which its errors are answered late, twice as late each time"),
    Option(
      "tarpit-delay", .duration(.zero ... .seconds(60)), default: .duration(.milliseconds(500)),
      "How late the first time; 0s: no delays"),
    Option(
      "tarpit-longest", .duration(.zero ... .seconds(60)), default: .duration(.seconds(10)), "How late at most"),
    Option(
      "max-commands", .integer(10...1_000_000), default: .integer(100),
      "Commands without mail between them after which the connection is closed"),
    Option(
      "command-timeout", .duration(.milliseconds(1) ... .seconds(3600)), default: .duration(.seconds(300)),
      "Time for a client's next command"),
    Option(
      "data-timeout", .duration(.milliseconds(1) ... .seconds(3600)), default: .duration(.seconds(180)),
      "Time for the next part of a message"),
    Option(
      "message-timeout", .duration(.milliseconds(1) ... .seconds(86_400)), default: .duration(.seconds(3600)),
      "Time for a whole message"),
  ])

  /// `HOST:PORT`.
  public var listen: String
  /// PEM file, or `self-signed` or `none`.
  public var tlsCertificate: String
  /// PEM file; nil: the certificate's.
  public var tlsKey: String?
  /// `HOST:PORT` for implicit TLS.
  public var tlsListen: String?
  /// Whether mail in plain is refused.
  public var requiresTLS: Bool
  /// The server's name; nil: the application's default.
  public var hostname: String?
  /// Octets.
  public var maximumMessageSize: Int
  /// Of a message.
  public var maximumRecipients: Int
  /// At a time.
  public var maximumConnections: Int
  /// At a time.
  public var maximumConnectionsPerAddress: Int
  /// Of one client; 0: any number.
  public var connectionsPerMinute: Int
  /// Of one client; 0: any number.
  public var messagesPerMinute: Int
  /// Of one client; 0: any number.
  public var recipientsPerMinute: Int
  /// Of one connection.
  public var maximumMessages: Int
  /// Whether limits of a client and delays hold for loopback, too.
  public var limitsLoopback: Bool
  /// From where connections begin with a PROXY header.
  public var proxies: [IPNetwork]
  /// How errors are slowed down; nil: not at all.
  public var tarpit: SMTPSessionConfiguration.Tarpit?
  /// Octets of all messages that are arriving.
  public var maximumMemory: Int
  /// Of one connection.
  public var maximumErrors: Int
  /// Without mail between them.
  public var maximumCommands: Int
  /// See `SMTPSessionConfiguration.TimeLimits`.
  public var timeLimits: SMTPSessionConfiguration.TimeLimits

  /// Takes checked values.
  ///
  /// - Throws: `Mistake` if the hostname is no domain, or a message may be larger than the memory for all of them.
  public init(_ values: OptionValues) throws {
    self.init(checked: values)
    for text in values.list("proxy-protocol") where IPNetwork(text) == nil {
      throw Mistake(
        description: "“\(text)” in proxy-protocol is no address or network: write 192.0.2.7, 10.0.0.0/8 or fd00::/8")
    }
    if let hostname, !SMTPPathGrammar.isDomain(hostname) {
      throw Mistake(
        description: "“\(hostname)” cannot be the hostname of an SMTP gateway: write a domain, such as mx.example.com")
    }
    if tlsCertificate == "none", requiresTLS || tlsListen != nil {
      throw Mistake(description: "requires-tls and tls-listen need a certificate: tls-certificate is none")
    }
    guard maximumMessageSize <= maximumMemory else {
      throw Mistake(
        description:
          "max-message-size (\(maximumMessageSize)) is above max-memory (\(maximumMemory)): the largest messages "
          + "would always be put off; raise max-memory or lower max-message-size")
    }
  }

  /// What `init` would say is wrong with values that the schema takes; nil: nothing.
  public static func mistake(in values: OptionValues) -> String? {
    do {
      _ = try Self(values)
      return nil
    } catch { return "\(error)" }
  }

  /// A value that the schema cannot tell is wrong.
  public struct Mistake: Error, Hashable, CustomStringConvertible {
    /// What was found, and what would fit.
    public let description: String
  }

  private init(checked values: OptionValues) {
    listen = values.text("listen") ?? "127.0.0.1:2525"
    tlsCertificate = values.text("tls-certificate") ?? "none"
    tlsKey = values.text("tls-key")
    tlsListen = values.text("tls-listen")
    requiresTLS = values.bool("requires-tls")
    hostname = values.text("hostname")
    maximumMessageSize = values.int("max-message-size")
    maximumRecipients = values.int("max-recipients")
    maximumConnections = values.int("max-connections")
    maximumConnectionsPerAddress = values.int("max-connections-per-address")
    connectionsPerMinute = values.int("connections-per-minute")
    messagesPerMinute = values.int("messages-per-minute")
    recipientsPerMinute = values.int("recipients-per-minute")
    maximumMessages = values.int("max-messages")
    limitsLoopback = values.bool("limits-loopback")
    proxies = values.list("proxy-protocol").compactMap { IPNetwork($0) }
    if values.duration("tarpit-delay") > .zero {
      var tarpit = SMTPSessionConfiguration.Tarpit()
      tarpit.free = values.int("tarpit-after")
      tarpit.first = values.duration("tarpit-delay")
      tarpit.longest = values.duration("tarpit-longest")
      self.tarpit = tarpit
    }
    maximumMemory = values.int("max-memory")
    maximumErrors = values.int("max-errors")
    maximumCommands = values.int("max-commands")
    timeLimits = SMTPSessionConfiguration.TimeLimits()
    timeLimits.command = values.duration("command-timeout")
    timeLimits.dataBlock = values.duration("data-timeout")
    timeLimits.dataStart = min(timeLimits.dataStart, timeLimits.dataBlock)
    timeLimits.message = values.duration("message-timeout")
  }

  /// The defaults.
  public init() { self.init(checked: OptionValues(schema: Self.schema)) }

  /// What a session needs of them.
  func sessionConfiguration(hostname: String, postmasterDomain: String?) -> SMTPSessionConfiguration {
    var configuration = SMTPSessionConfiguration(hostname: self.hostname ?? hostname)
    configuration.requiresTLS = requiresTLS
    configuration.postmasterDomain = postmasterDomain
    configuration.maximumMessageSize = maximumMessageSize
    configuration.maximumRecipients = maximumRecipients
    configuration.maximumErrors = maximumErrors
    configuration.maximumMessages = maximumMessages
    configuration.tarpit = tarpit
    configuration.maximumIdleCommands = maximumCommands
    configuration.timeLimits = timeLimits
    return configuration
  }
}

public import Network
public import Pipeline

/// Takes mail by SMTP at one address and hands it to an acceptor.
///
/// For example:
///
/// ```swift
/// let gateway = try SMTPGateway(
///   options, hostname: "mx.example.com", loops: [loop], directory: directory, acceptor: acceptor, clock: clock, log: log)
/// try await gateway.start()
/// print(gateway.address)
/// await gateway.shutdown(draining: .seconds(5), deadline: .seconds(10))
/// ```
public final class SMTPGateway: Sendable {
  /// What every connection needs; one for all, so that a connection holds a reference.
  final class Context: Sendable {
    let configuration: SMTPSessionConfiguration
    let settings: SMTPSession.Settings
    /// For clients that limits do not count.
    let unlimitedSettings: SMTPSession.Settings
    let admission: SMTPAdmission
    let proxies: [IPNetwork]
    let directory: any RecipientDirectory
    let acceptor: any MailAcceptor
    let clock: any PipelineClock
    let log: Log
    let metrics: Metrics
    let certificate: CertificateFiles?

    init(
      configuration: SMTPSessionConfiguration, admission: SMTPAdmission, proxies: [IPNetwork],
      directory: any RecipientDirectory,
      certificate: CertificateFiles?,
      acceptor: any MailAcceptor, clock: any PipelineClock, log: Log, metrics: Metrics
    ) {
      self.configuration = configuration
      settings = SMTPSession.Settings(configuration)
      var unlimited = configuration
      unlimited.tarpit = nil
      unlimitedSettings = SMTPSession.Settings(unlimited)
      self.admission = admission
      self.proxies = proxies
      self.directory = directory
      self.acceptor = acceptor
      self.clock = clock
      self.log = log
      self.metrics = metrics
      self.certificate = certificate
    }
  }

  private let server: Server
  private let tlsServer: Server?

  /// Takes the address; nobody is served before `start`.
  ///
  /// - Parameters:
  ///   - hostname: our name if the options give none.
  ///   - postmasterDomain: the domain that `RCPT TO:<postmaster>` means; the hostname if nil.
  ///   - loops: where connections live; at least one.
  ///   - certificate: what TLS is offered with; nil: it is not.
  /// - Throws: `NetworkError.invalidAddress` or `.cannotListen`, with what to do.
  public init(
    _ options: SMTPGatewayOptions, hostname: String, postmasterDomain: String? = nil, loops: [EventLoop],
    directory: any RecipientDirectory, acceptor: any MailAcceptor, certificate: CertificateFiles? = nil,
    clock: any PipelineClock, log: Log, metrics: Metrics = Metrics()
  ) throws(NetworkError) {
    var configuration = options.sessionConfiguration(hostname: hostname, postmasterDomain: postmasterDomain)
    configuration.offersTLS = certificate != nil
    let context = Context(
      configuration: configuration,
      admission: SMTPAdmission(options), proxies: options.proxies, directory: directory, certificate: certificate,
      acceptor: acceptor, clock: clock, log: log, metrics: metrics)
    var refusal: [UInt8] = []
    SMTPReply.tooManyConnections.encode(into: &refusal)
    server = try Server(
      address: try SocketAddress(parsing: options.listen), loops: loops, maxConnections: options.maximumConnections,
      refusal: refusal
    ) { connection in
      var conversation = SMTPConversation(context, connection.peer.host)
      await conversation.run(connection)
    }
    guard certificate != nil, let address = options.tlsListen else {
      tlsServer = nil
      return
    }
    // Beyond the limit they wait: there is nobody yet whom a refusal in plain would reach.
    tlsServer = try Server(
      address: try SocketAddress(parsing: address), loops: loops, maxConnections: options.maximumConnections
    ) { connection in
      var conversation = SMTPConversation(context, connection.peer.host, isImplicit: true)
      await conversation.run(connection)
    }
  }

  /// Where it listens; port 0 became the one that the system chose.
  public var address: SocketAddress { server.address }
  /// The same for TLS from the first byte; nil if it is not offered.
  public var tlsAddress: SocketAddress? { tlsServer?.address }
  /// Connections that are open now.
  public var connections: Int { server.connections + (tlsServer?.connections ?? 0) }

  /// Begins to serve.
  public func start() async throws(NetworkError) {
    try await server.start()
    try await tlsServer?.start()
  }

  /// Stops: no new connections; clients between two commands are sent away with 421 at once. A message that is arriving
  /// may come to its end within `draining`; its client is sent away after the answer. What is left is cut off at
  /// `deadline`, counted from the call. Returns when every connection is closed.
  public func shutdown(draining: Duration = .seconds(5), deadline: Duration = .seconds(10)) async {
    async let other: Void? = tlsServer?.shutdown(draining: draining, deadline: deadline)
    await server.shutdown(draining: draining, deadline: deadline)
    await other
  }
}

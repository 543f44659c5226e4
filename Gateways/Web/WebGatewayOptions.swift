public import Pipeline

/// What a topology may set for the web gateway.
public struct WebGatewayOptions: StageOptions, Hashable {
  /// What can be set.
  public static let schema = OptionSchema([
    Option("listen", .address, default: .text("127.0.0.1:8080"), "Address and port to accept connections at"),
    Option(
      "tls-certificate", .text, default: .text("none"),
      "PEM file with the certificate and its chain, taken anew when it changes; self-signed: one made in the data "
        + "folder; none: no TLS"),
    Option("tls-key", .text, required: false, "PEM file with its key, by default the certificate's file"),
    Option("max-connections", .integer(1...1_000_000), default: .integer(10_000), "Connections at a time"),
    Option(
      "max-connections-per-address", .integer(1...1_000_000), default: .integer(100),
      "Connections at a time from one IPv4 address or IPv6 /64 network; loopback is not counted"),
  ])

  /// `HOST:PORT`.
  public var listen: String
  /// PEM file, or `self-signed` or `none`.
  public var tlsCertificate: String
  /// PEM file; nil: the certificate's.
  public var tlsKey: String?
  /// At a time.
  public var maximumConnections: Int
  /// At a time.
  public var maximumConnectionsPerAddress: Int

  /// Takes checked values.
  public init(_ values: OptionValues) {
    listen = values.text("listen") ?? "127.0.0.1:8080"
    tlsCertificate = values.text("tls-certificate") ?? "none"
    tlsKey = values.text("tls-key")
    maximumConnections = values.int("max-connections")
    maximumConnectionsPerAddress = values.int("max-connections-per-address")
  }
}

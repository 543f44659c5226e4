/// What a load balancer says in front of a connection's bytes: who the client is (HAProxy's PROXY protocol, versions 1
/// and 2). To be taken from trusted addresses only: anybody can write one.
public struct ProxyHeader: Sendable, Hashable {
  /// The client's address; nil when the balancer speaks for itself (`LOCAL`, `UNKNOWN`, or not by IP): its own counts.
  public let source: SocketAddress?

  /// How far a header has come.
  public enum Progress: Sendable, Hashable {
    /// At least so many octets are missing; no more than these may be read, since what follows may be TLS.
    case needs(Int)
    /// The header, and its octets.
    case complete(ProxyHeader, length: Int)
  }

  /// Why octets are no header.
  public enum Mistake: Error, Sendable, Hashable {
    /// They begin with something else.
    case noHeader
    /// They begin like one, and then do not fit.
    case malformed(String)
  }

  /// Octets of the longest header of version 1 with its CR LF.
  static let maximumLine = 107
  /// Octets of the longest header of version 2 that is taken; it may hold certificates of the client.
  static let maximumLength = 8192

  private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]
  private static let word = Array("PROXY ".utf8)

  /// Looks at all octets that have come so far.
  public static func parse(_ bytes: UnsafeRawBufferPointer) throws(Mistake) -> Progress {
    guard let first = bytes.first else { return .needs(15) }  // `PROXY UNKNOWN` with its line end is the shortest
    let start = first == signature[0] ? signature : word
    guard zip(bytes, start).allSatisfy({ $0 == $1 }) else { throw .noHeader }
    return first == signature[0] ? try parseBinary(bytes) : try parseLine(bytes)
  }

  // MARK: Version 1: a line of text

  private static func parseLine(_ bytes: UnsafeRawBufferPointer) throws(Mistake) -> Progress {
    guard let feed = bytes.prefix(maximumLine).firstIndex(of: 10) else {
      guard bytes.count < maximumLine else { throw .malformed("a line longer than \(maximumLine) octets") }
      if bytes.count < 15 { return .needs(15 - bytes.count) }
      return .needs(bytes.last == 13 ? 1 : min(2, maximumLine - bytes.count))
    }
    guard feed > 0, bytes[feed - 1] == 13 else { throw .malformed("a line without CR LF") }
    let line = String(decoding: bytes[..<(feed - 1)], as: UTF8.self)
    let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    if words.count >= 2, words[1] == "UNKNOWN" { return .complete(ProxyHeader(source: nil), length: feed + 1) }
    guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6" else { throw .malformed("not six words") }
    let isIPv6 = words[1] == "TCP6"
    guard let host = address(words[2], isIPv6), address(words[3], isIPv6) != nil else {
      throw .malformed("an address that is none")
    }
    guard let port = port(words[4]), self.port(words[5]) != nil else { throw .malformed("a port that is none") }
    return .complete(ProxyHeader(source: SocketAddress(host: host, port: port)), length: feed + 1)
  }

  private static func address(_ text: String, _ isIPv6: Bool) -> IPAddress? {
    guard text.utf8.contains(UInt8(ascii: ":")) == isIPv6 else { return nil }
    return IPAddress(text)
  }

  /// Digits without a sign or zeros in front.
  private static func port(_ text: String) -> UInt16? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
      text == "0" || !text.hasPrefix("0")
    else { return nil }
    return UInt16(text)
  }

  // MARK: Version 2

  private static func parseBinary(_ bytes: UnsafeRawBufferPointer) throws(Mistake) -> Progress {
    guard bytes.count >= 16 else { return .needs(16 - bytes.count) }
    let (version, command) = (bytes[12] >> 4, bytes[12] & 15)
    guard version == 2 else { throw .malformed("version \(version)") }
    guard command <= 1 else { throw .malformed("command \(command)") }
    let rest = Int(bytes[14]) << 8 | Int(bytes[15])
    let length = 16 + rest
    guard length <= maximumLength else { throw .malformed("a header of \(length) octets") }
    let (family, transport) = (bytes[13] >> 4, bytes[13] & 15)
    guard family <= 3, transport <= 2 else { throw .malformed("family \(family), transport \(transport)") }
    // The address is checked before its rest has come: what cannot fit is not waited for.
    let isIPv6 = family == 2
    let isIP = command == 1 && (family == 1 || isIPv6)
    guard !isIP || rest >= (isIPv6 ? 36 : 12) else { throw .malformed("no room for its addresses") }
    guard bytes.count >= length else { return .needs(length - bytes.count) }
    guard isIP else { return .complete(ProxyHeader(source: nil), length: length) }
    let size = isIPv6 ? 16 : 4
    guard let host = IPAddress(bytes: Array(bytes[16..<(16 + size)])) else { throw .malformed("no address") }
    let port = UInt16(bytes[16 + 2 * size]) << 8 | UInt16(bytes[17 + 2 * size])
    return .complete(ProxyHeader(source: SocketAddress(host: host, port: port)), length: length)
  }
}

extension Connection {
  /// Reads the PROXY header that a trusted peer has to begin with, and not one octet more: what follows may be TLS.
  ///
  /// - Parameter timeout: for all of it.
  /// - Returns: the header; nil if the peer closed the connection before the first octet, as probes do.
  /// - Throws: `proxyHeader` if it is none, `timedOut(.read)`, and what `fill` throws.
  public func readProxyHeader(timeout: Duration = .seconds(5)) async throws(NetworkError) -> ProxyHeader? {
    limitReading(to: timeout)
    defer { limitReading(to: nil) }
    while true {
      let progress: ProxyHeader.Progress
      do throws(ProxyHeader.Mistake) {
        progress = try consume { (bytes) throws(ProxyHeader.Mistake) in
          let progress = try ProxyHeader.parse(bytes)
          if case .complete(_, let length) = progress { return (result: progress, consumed: length) }
          return (result: progress, consumed: 0)
        }
      } catch {
        switch error {
        case .noHeader: throw .proxyHeader("it does not begin with one")
        case .malformed(let what): throw .proxyHeader(what)
        }
      }
      switch progress {
      case .complete(let header, _): return header
      case .needs(let count):
        guard try await fill(atMost: count) else {
          if buffered == 0 { return nil }
          throw .proxyHeader("it ends within one")
        }
      }
    }
  }
}

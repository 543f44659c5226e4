import Glibc

/// An IP address and a TCP port.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  /// The machine.
  public let host: IPAddress
  /// The port; 0 asks the system for a free one.
  public var port: UInt16

  /// From its parts.
  public init(host: IPAddress, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Parses "127.0.0.1:25", "[::1]:25" or "localhost:25" (which is 127.0.0.1). Throws `invalidAddress`.
  public init(parsing text: String) throws(NetworkError) {
    guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")),
      let port = UInt16(text[text.utf8.index(after: colon)...]), text.utf8[text.utf8.index(after: colon)] != 43  // "+"
    else { throw .invalidAddress(text) }
    var name = text[..<colon]
    let isBracketed = name.hasPrefix("[") && name.hasSuffix("]") && name.utf8.count > 2
    if isBracketed { name = name.dropFirst().dropLast() }
    guard let host = IPAddress(name == "localhost" ? "127.0.0.1" : String(name)), host.isIPv6 == isBracketed else {
      throw .invalidAddress(text)
    }
    self.init(host: host, port: port)
  }

  /// As it is parsed, "[::1]:25".
  public var description: String {
    host.isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// An IPv4 or IPv6 address. An IPv4 address that is mapped into IPv6 counts as IPv4.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
  /// In network order, 4 or 16 of them.
  public let bytes: [UInt8]

  /// From 4 or 16 bytes in network order; nil for any other count.
  public init?(bytes: [UInt8]) {
    switch bytes.count {
    case 4: self.bytes = bytes
    case 16:
      let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
      self.bytes = isMapped ? Array(bytes.suffix(4)) : bytes
    default: return nil
    }
  }

  /// Parses "192.0.2.1" or "2001:db8::1"; nil for anything else, zones (`%eth0`) included.
  public init?(_ text: String) {
    guard !text.utf8.contains(0) else { return nil }  // C would stop there
    var bytes = [UInt8](repeating: 0, count: 16)
    if inet_pton(AF_INET, text, &bytes) == 1 {
      self.init(bytes: Array(bytes.prefix(4)))
    } else if inet_pton(AF_INET6, text, &bytes) == 1 {
      self.init(bytes: bytes)
    } else {
      return nil
    }
  }

  /// Whether it has 16 bytes.
  public var isIPv6: Bool { bytes.count == 16 }

  /// Whether it is this machine's own: 127.0.0.0/8 or ::1.
  public var isLoopback: Bool {
    isIPv6 ? bytes.dropLast().allSatisfy { $0 == 0 } && bytes.last == 1 : bytes.first == 127
  }

  /// In the shortest usual form.
  public var description: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { buffer in
      guard let start = buffer.baseAddress,
        inet_ntop(isIPv6 ? AF_INET6 : AF_INET, bytes, start, socklen_t(buffer.count)) != nil
      else { return "?" }
      return String(cString: start)
    }
  }
}

// MARK: - As the system wants it

extension SocketAddress {
  /// From the bytes of a `sockaddr`; the unspecified address for a family that is not IP.
  init(sockaddr bytes: [UInt8]) {
    self = bytes.withUnsafeBytes { raw in
      if raw.count >= MemoryLayout<sockaddr_in6>.size,
        raw.loadUnaligned(as: sa_family_t.self) == sa_family_t(AF_INET6)
      {
        let address = raw.loadUnaligned(as: sockaddr_in6.self)
        let host = withUnsafeBytes(of: address.sin6_addr) { IPAddress(bytes: Array($0)) }
        return SocketAddress(host: host ?? .unspecified, port: UInt16(bigEndian: address.sin6_port))
      }
      if raw.count >= MemoryLayout<sockaddr_in>.size, raw.loadUnaligned(as: sa_family_t.self) == sa_family_t(AF_INET) {
        let address = raw.loadUnaligned(as: sockaddr_in.self)
        let host = withUnsafeBytes(of: address.sin_addr) { IPAddress(bytes: Array($0)) }
        return SocketAddress(host: host ?? .unspecified, port: UInt16(bigEndian: address.sin_port))
      }
      return SocketAddress(host: .unspecified, port: 0)
    }
  }

  /// The local address of a bound socket.
  init(localOf descriptor: Int32) {
    self.init(sockaddr: readSockaddr { getsockname(descriptor, $0, $1) })
  }

  var family: Int32 { host.isIPv6 ? AF_INET6 : AF_INET }

  func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    if host.isIPv6 {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: host.bytes) }
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
      }
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: host.bytes) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
  }
}

extension IPAddress {
  /// 0.0.0.0.
  static var unspecified: IPAddress { IPAddress(v4: [0, 0, 0, 0]) }

  private init(v4 bytes: [UInt8]) {
    self.bytes = bytes
  }
}

private func readSockaddr(
  _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
) -> [UInt8] {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let failed = withUnsafeMutablePointer(to: &storage) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
  }
  return failed == 0 ? withUnsafeBytes(of: &storage) { Array($0.prefix(Int(length))) } : []
}

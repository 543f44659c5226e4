import Glibc

extension IPAddress {
  /// The addresses of a machine by its name, as the system knows them, in the order in which they are to be tried.
  ///
  /// Blocks its thread for as long as the system's resolver takes (seconds): for commands, not for a service.
  ///
  /// - Throws: `NetworkError.system` with the resolver's words if there is none.
  public static func lookUp(_ name: String) throws(NetworkError) -> [IPAddress] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    defer { if let list { freeaddrinfo(list) } }
    var addresses: [IPAddress] = []
    var next = list
    while let entry = next {
      next = entry.pointee.ai_next
      guard let start = entry.pointee.ai_addr else { continue }
      let bytes = Array(UnsafeRawBufferPointer(start: start, count: Int(entry.pointee.ai_addrlen)))
      let host = SocketAddress(sockaddr: bytes).host
      if !addresses.contains(host) { addresses.append(host) }
    }
    guard code == 0, !addresses.isEmpty else {
      throw .system(
        .connect, code: code, text: "\(name): \(code == 0 ? "no address" : String(cString: gai_strerror(code)))")
    }
    return addresses
  }
}

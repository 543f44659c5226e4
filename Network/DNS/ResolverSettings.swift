import Unbound

extension UnboundContext {
  /// Takes the options; they cannot be changed any more.
  func apply(_ options: Resolver.Options) throws(UnboundError) {
    // Sockets for questions under way; those beyond wait for one.
    try set("outgoing-range", String(min(max(16, options.concurrent), 1024)))
    try set("outgoing-num-tcp", "16")
    try set("msg-cache-size", String(max(0, options.cacheSize / 3)))
    try set("rrset-cache-size", String(max(0, options.cacheSize / 3 * 2)))
    // A server that has been away for long is asked again after so many seconds; 900 is libunbound's own idea.
    try set("infra-host-ttl", "15")
    if options.onlyRecords == nil { try addServers(options) }
    if let file = options.trustAnchorFile { try trust(file) }
    // This ends the settings, and says whether they can be used.
    do throws(UnboundError) {
      try addZone("mailflow.invalid.", type: "static")
    } catch {
      guard let file = options.trustAnchorFile else { throw error }
      throw UnboundError(reason: "\(file) holds no good DS or DNSKEY record")
    }
    guard let records = options.onlyRecords else { return }
    try addZone(".", type: "static")
    for record in records { try addRecord(record) }
  }

  private func addServers(_ options: Resolver.Options) throws(UnboundError) {
    for server in options.servers { try forward(to: "\(server.host)@\(server.port)") }
    if options.servers.isEmpty, let file = options.serverFile { try readServers(file) }
    // Those that we are told to ask know about private addresses.
    if !options.servers.isEmpty || options.serverFile != nil { try set("unblock-lan-zones", "yes") }
  }
}

import Foundation
import Glibc
import Testing

@testable import Network

/// Real name servers, each test's own: dnsmasq for any record, knot for signed zones.
enum NameServers {
  static let dnsmasq = path("dnsmasq")
  static let knot = path("knotd")
  static let howToGetDnsmasq: Comment = "no dnsmasq: apt-get install dnsmasq-base"
  static let howToGetKnot: Comment = "no knot: apt-get install knot"

  /// Knows these records (lines of dnsmasq.conf) and no other names.
  static func withDnsmasq(
    _ records: [String], at address: SocketAddress? = nil, _ body: (NameServer) async throws -> Void
  ) async throws {
    try await serving(
      at: address,
      { server in
        try server.file(
          "dnsmasq.conf",
          [
            "listen-address=\(server.address.host)", "port=\(server.address.port)", "bind-interfaces", "no-resolv",
            "no-hosts", "pid-file", "local=/#/", "local-ttl=60",
          ] + records)
        try server.launch(
          dnsmasq, "--keep-in-foreground", "--conf-file=\(server.folder)/dnsmasq.conf", "--log-facility=-")
      }, body)
  }

  /// Signs these zones; `anchors` of the server has the trust anchors for each.
  static func withKnot(_ zones: [String: [String]], _ body: (NameServer) async throws -> Void) async throws {
    try await serving(
      { server in
        let folder = server.folder
        for (zone, records) in zones {
          let soa = "\(zone). 60 SOA ns.\(zone). hostmaster.\(zone). 1 3600 600 86400 30"
          try server.file(
            "\(zone).zone", [soa, "\(zone). 60 NS ns.\(zone).", "ns.\(zone). 60 A 127.0.0.1"] + records)
        }
        try server.file(
          "knot.conf",
          [
            "server:", "  rundir: \(folder)", "  listen: \(server.address.host)@\(server.address.port)",
            "  udp-workers: 1", "  tcp-workers: 1", "database:", "  storage: \(folder)", "policy:", "  - id: sign",
            "    algorithm: ecdsap256sha256", "    single-type-signing: on", "template:", "  - id: default",
            "    storage: \(folder)", "    file: \"%s.zone\"", "    zonefile-sync: -1",
            "    zonefile-load: difference-no-serial", "    journal-content: all", "    dnssec-signing: on",
            "    dnssec-policy: sign", "zone:",
          ] + zones.keys.map { "  - domain: \($0)" })
        try server.launch(knot, "-c", "\(folder)/knot.conf")
        for zone in zones.keys {
          try await server.answers(zone, 48)
          server.anchors[zone] = try server.output(path("keymgr"), "-c", "\(folder)/knot.conf", zone, "ds")
        }
      }, body)
  }

  /// Starts one, and ends it behind the body. The resolvers of other tests ask from any port: one may take the port
  /// that was free just now, and then another is tried.
  private static func serving(
    at address: SocketAddress? = nil, _ start: (NameServer) async throws -> Void,
    _ body: (NameServer) async throws -> Void
  ) async throws {
    for tries in 1... {
      let server = try NameServer(at: address ?? freePort())
      defer { server.clear() }
      do {
        try await start(server)
        try await server.answers("example.net", 1)
      } catch let ended as NameServer.Ended {
        if tries < 5, address == nil { continue }
        throw ended
      }
      return try await body(server)
    }
  }

  /// A port on which nobody answers, below those that outgoing connections take.
  static func freePort() throws -> SocketAddress {
    for _ in 0..<1000 {
      let address = try SocketAddress(parsing: "127.0.0.1:\(Int.random(in: 10_000..<32_000))")
      let sockets = [SOCK_STREAM, SOCK_DGRAM].map { socket(AF_INET, Int32($0.rawValue), 0) }
      defer { for one in sockets { Glibc.close(one) } }
      if sockets.allSatisfy({ one in address.withSockaddr { Glibc.bind(one, $0, $1) } == 0 }) { return address }
    }
    throw CocoaError(.fileNoSuchFile)
  }

  private static func path(_ name: String) -> String? {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"]
      .map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }
}

/// A name server that runs, in a folder of its own.
final class NameServer {
  let address: SocketAddress
  let folder: String
  var anchors: [String: String] = [:]
  private var process: pid_t?
  private var command: [String] = []

  fileprivate init(at address: SocketAddress) throws {
    self.address = address
    folder = NSTemporaryDirectory() + "mailflow-dns-\(address.host)-\(address.port)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  /// For a resolver that asks it.
  var options: Resolver.Options {
    var options = Resolver.Options()
    options.servers = [address]
    return options
  }

  /// The trust anchors of these zones in a file; `change` may make them wrong.
  func anchorFile(_ zones: [String], _ change: (String) -> String = { $0 }) throws -> String {
    try file("anchors", zones.map { change(anchors[$0] ?? "") })
  }

  /// Stands still, and goes on.
  func freeze() { if let process { kill(process, SIGSTOP) } }
  func thaw() { if let process { kill(process, SIGCONT) } }

  private var hasEnded: Bool {
    guard let process, waitpid(process, nil, WNOHANG) != 0 else { return false }
    self.process = nil
    return true
  }

  /// Ends it at once; its port stays free for `start`.
  func stop() {
    guard let process else { return }
    kill(process, SIGKILL)
    waitpid(process, nil, 0)
    self.process = nil
  }

  fileprivate func clear() {
    stop()
    try? FileManager.default.removeItem(atPath: folder)
  }

  /// It did not go on: what it said.
  struct Ended: Error { let log: String }

  /// Writes a file in its folder; returns the path.
  @discardableResult func file(_ name: String, _ lines: [String]) throws -> String {
    let path = "\(folder)/\(name)"
    try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }

  func launch(_ program: String?, _ arguments: String...) throws {
    command = [try #require(program)] + arguments
    try launch()
  }

  /// Starts it again.
  func launch() throws {
    process = try spawn(command, output: "\(folder)/log")
  }

  fileprivate func output(_ program: String?, _ arguments: String...) throws -> String {
    let path = "\(folder)/output"
    waitpid(try spawn([try #require(program)] + arguments, output: path), nil, 0)
    return try String(contentsOfFile: path, encoding: .utf8)
  }

  /// Foundation's own way needs a run loop, and that a thread of the pool.
  private func spawn(_ command: [String], output: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var arguments = command.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var process: pid_t = 0
    let code = posix_spawn(&process, command[0], &actions, nil, &arguments, environ)
    try #require(code == 0, "\(command[0]): errno \(code)")
    return process
  }

  /// Waits until there is any answer; for a type that is not 1, one with records.
  func answers(_ name: String, _ type: Int) async throws {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { Glibc.close(descriptor) }
    var time = timeval(tv_sec: 0, tv_usec: 100_000)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    _ = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    let query = DNSBytes.message(type, [], flags: 0x100, question: DNSBytes.name(name))
    var buffer = [UInt8](repeating: 0, count: 4096)
    for _ in 0..<300 {
      if hasEnded { throw Ended(log: (try? String(contentsOfFile: "\(folder)/log", encoding: .utf8)) ?? "") }
      send(descriptor, query, query.count, 0)
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count >= 12, type == 1 || buffer[7] > 0 { return }
      try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("no answer of the name server within 36 s")
  }
}

import Glibc
import Network
import Synchronization

// A server of HTTP and WebSocket with a handler of each kind, for the scenarios and benchmarks:
//   http-probe [NAME=VALUE …]
// Names are `certificate`, `key` (PEM files), `file` (what GET /file sends), and limits: `head`, `body`, `idle`, `write`,
// `ping`, `message` in milliseconds. Prints its address when it listens; SIGTERM ends it when what it does is done.

SignalWaiter.block([SIGTERM, SIGPIPE])

struct Settings: Sendable {
  var values: [String: String] = [:]

  init(_ arguments: [String]) {
    for argument in arguments {
      let parts = argument.split(separator: "=", maxSplits: 1)
      if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
    }
  }

  func milliseconds(_ name: String, _ standard: Int) -> Duration {
    .milliseconds(values[name].flatMap { Int($0) } ?? standard)
  }

  var http: HTTPLimits {
    var limits = HTTPLimits()
    limits.headTime = milliseconds("head", 10_000)
    limits.bodyTime = milliseconds("body", 20_000)
    limits.idleTime = milliseconds("idle", 60_000)
    limits.writeTime = milliseconds("write", 20_000)
    return limits
  }

  var webSocket: WebSocketLimits {
    var limits = WebSocketLimits()
    limits.pingInterval = milliseconds("ping", 30_000)
    limits.messageTime = milliseconds("message", 20_000)
    limits.writeTime = milliseconds("write", 20_000)
    (limits.frame, limits.message) = (1 << 20, 4 << 20)
    return limits
  }
}

struct Handler: Sendable {
  let settings: Settings
  let loop: EventLoop

  func answer(_ request: HTTPRequest, _ body: HTTPBody) async -> HTTPResponse {
    switch request.path {
    case "/echo":
      var sum = 0
      do throws(HTTPError) {
        while let bytes = try await body.read() { sum = bytes.reduce(sum) { ($0 &* 31 &+ Int($1)) & 0xFFFF_FFFF } }
      } catch { return .text(error.status, error.reason) }
      return .text(200, "\(request.method) \(body.count) \(sum)")
    case "/upload":
      body.limit = 1 << 30
      do throws(HTTPError) { while try await body.read() != nil {} } catch { return .text(error.status, error.reason) }
      return .text(200, "\(body.count)")
    case "/ignore": return .text(200, "not read")
    case "/file":
      guard let file = try? HTTPFile(path: settings.values["file"] ?? "") else { return .text(404, "no file") }
      return .file(file, fields: [("ETag", "\"\(file.size)\"")]).conditioned(by: request)
    case "/stream":
      let count = Int(request.parameter("count") ?? "") ?? 10
      return HTTPResponse(
        200,
        .stream { (writer) async throws(NetworkError) in
          for number in 0..<max(0, count) { try await writer.write(Array("\(number)\n".utf8)) }
        })
    case "/slow":
      try? await loop.sleep(for: .milliseconds(Int(request.parameter("ms") ?? "") ?? 1000))
      return .text(200, "slow")
    case "/ws":
      return .webSocket(
        request, limits: settings.webSocket, protocols: ["chat"], origins: { $0 == "http://here.example" }
      ) { socket, _ in
        while let message = await socket.receive() {
          switch message {
          case .text("close"): await socket.close(WebSocketClose(4000, "as you wish"))
          case .text("later"):
            let outbox = socket.outbox
            Task { for number in 0..<3 { outbox.send(.text("later \(number)")) } }
          case .text("flood"):
            let outbox = socket.outbox
            Task { while outbox.send(.text(String(repeating: "x", count: 10_000))) {} }
          default: await socket.send(message)
          }
        }
      }
    default: return .text(404, "nothing here")
    }
  }
}

let settings = Settings(Array(CommandLine.arguments.dropFirst()))
let loop = try EventLoop()
let certificate = try settings.values["certificate"].map {
  try CertificateFiles(certificate: $0, key: settings.values["key"] ?? $0) { _ in }
}
let handler = Handler(settings: settings, loop: loop)
let limits = settings.http
let server = try Server(address: try SocketAddress(parsing: "127.0.0.1:0"), loops: [loop], maxConnections: 100_000) {
  connection in
  var session = HTTPSession(limits, certificate: certificate, streaming: { await handler.answer($0, $1) })
  await session.run(connection)
}
Task.detached { @Sendable [server] in
  try await server.start()
  let line = "\(server.address)\n"
  _ = write(STDOUT_FILENO, line, line.utf8.count)
}
// The main thread does nothing else: the signal has to find nobody who is not prepared for it.
var asked = sigset_t()
sigemptyset(&asked)
sigaddset(&asked, SIGTERM)
var signal: Int32 = 0
sigwait(&asked, &signal)
Task.detached { @Sendable [server] in
  await server.shutdown(draining: .seconds(5), deadline: .seconds(10))
  exit(0)
}
while true { pause() }

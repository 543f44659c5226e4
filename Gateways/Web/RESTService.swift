public import Mail
import Pipeline

/// How the stages are doing.
public struct Readiness: Sendable {
  /// One stage.
  public struct Stage: Sendable {
    let flow: String
    let stage: String
    let state: String
    let reason: String
    /// One stage.
    public init(flow: String, stage: String, state: String, reason: String) {
      self.flow = flow
      self.stage = stage
      self.state = state
      self.reason = reason
    }
  }
  let isReady: Bool
  let stages: [Stage]
  /// How the stages are doing.
  public init(isReady: Bool, stages: [Stage]) {
    self.isReady = isReady
    self.stages = stages
  }
}

/// The REST API for people with a mailbox, apart from any socket: a request in, an answer out.
public struct RESTService: Sendable {
  /// A request: method, decoded path, query pairs in order, and the bearer token if there is one.
  public struct Request: Sendable {
    var method: String
    var path: String
    var query: [(name: String, value: String)]
    var token: String?
    /// A request.
    public init(_ method: String, _ path: String, query: [(name: String, value: String)] = [], token: String? = nil) {
      self.method = method
      self.path = path
      self.query = query
      self.token = token
    }
  }

  /// An answer.
  public struct Answer: Sendable {
    /// The HTTP status.
    public var status: Int
    /// Fields beside those of the server.
    public var fields: [(name: String, value: String)]
    /// The body.
    public var body: [UInt8]
  }

  private let store: MailStore
  private let readiness: @Sendable () -> Readiness

  /// The API over `store`.
  public init(store: MailStore, readiness: @escaping @Sendable () -> Readiness) {
    self.store = store
    self.readiness = readiness
  }

  /// Answers a request.
  public func answer(_ request: Request) async -> Answer {
    let segments = request.path.split(separator: "/").map(String.init)
    switch segments {
    case ["livez"]: return refusal(request) ?? Self.json(200, ["live": true])
    case ["readyz"]: return refusal(request) ?? ready()
    case _ where segments.first == "v1":
      do throws(MailStoreError) {
        guard let token = request.token, let mailbox = try await store.mailbox(token: token) else {
          return Self.problem(
            401, "Unauthorized", "a valid token is needed: `Authorization: Bearer TOKEN`",
            fields: [("WWW-Authenticate", "Bearer realm=\"mailflow\"")])
        }
        return try await answer(request, Array(segments.dropFirst()), mailbox)
      } catch {
        return Self.problem(503, "Service Unavailable", "the mail store cannot be read now")
      }
    default: return Self.notFound
    }
  }

  private func answer(
    _ request: Request, _ path: [String], _ mailbox: Mailbox
  ) async throws(MailStoreError) -> Answer {
    switch (path.first, path.count) {
    case ("folders", 1):
      if let refusal = self.refusal(request) { return refusal }
      return try await folders(mailbox)
    case ("messages", 1):
      if let refusal = self.refusal(request) { return refusal }
      return try await list(request, mailbox)
    case ("messages", 2):
      guard let id = MessageID(path[1]), let message = try await store.message(id, of: mailbox) else {
        return Self.notFound
      }
      return refusal(request) ?? Self.json(200, Self.value(message))
    case ("messages", 3) where path[2] == "raw":
      guard let id = MessageID(path[1]), let raw = try await store.raw(id, of: mailbox) else { return Self.notFound }
      return refusal(request)
        ?? Answer(
          status: 200,
          // Shown as a download and never sniffed: a message may hold anything.
          fields: [
            ("Content-Type", "message/rfc822"), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "private"),
          ], body: Array(raw))
    default: return Self.notFound
    }
  }

  private func refusal(_ request: Request) -> Answer? {
    guard request.method != "GET", request.method != "HEAD" else { return nil }
    return Self.problem(
      405, "Method Not Allowed", "\(request.method) is not possible here", fields: [("Allow", "GET, HEAD")])
  }

  private func ready() -> Answer {
    let readiness = readiness()
    let stages = readiness.stages.map { stage in
      JSONValue.object([
        .init("flow", .string(stage.flow)), .init("stage", .string(stage.stage)),
        .init("state", .string(stage.state)), .init("reason", .string(stage.reason)),
      ])
    }
    return Self.json(
      readiness.isReady ? 200 : 503,
      .object([.init("ready", .bool(readiness.isReady)), .init("stages", .array(stages))]))
  }

  // MARK: Mailbox

  private func folders(_ mailbox: Mailbox) async throws(MailStoreError) -> Answer {
    let folders = try await store.folders(of: mailbox).map { folder in
      JSONValue.object([
        .init("id", .string("\(folder.id)")), .init("name", .string(folder.name)),
        .init("role", .optional(folder.role?.rawValue)), .init("total", .int(folder.total)),
        .init("unread", .int(folder.unread)),
      ])
    }
    return Self.json(200, .object([.init("folders", .array(folders))]))
  }

  private func list(_ request: Request, _ mailbox: Mailbox) async throws(MailStoreError) -> Answer {
    var limit = 50
    var folder: Int64?
    var cursor: MessageCursor?
    for (name, value) in request.query {
      switch name {
      case "limit":
        guard let number = Int(value), (1...500).contains(number) else {
          return Self.problem(400, "Bad Request", "limit takes a whole number from 1 to 500")
        }
        limit = number
      case "folder":
        guard let number = Int64(value) else { return Self.problem(400, "Bad Request", "folder takes a folder's id") }
        folder = number
      case "cursor":
        guard let found = MessageCursor(value) else {
          return Self.problem(400, "Bad Request", "cursor takes what the page before gave")
        }
        cursor = found
      default: return Self.problem(400, "Bad Request", "there is no parameter `\(name.prefix(40))`")
      }
    }
    // One more than wanted tells whether there is a next page.
    let messages = try await store.messages(of: mailbox, folder: folder, after: cursor, limit: limit + 1)
    let page = messages.prefix(limit)
    return Self.json(
      200,
      .object([
        .init("messages", .array(page.map(Self.value))),
        .init("cursor", messages.count > limit ? .optional(page.last?.cursor.description) : .null),
      ]))
  }

  private static func value(_ message: MailboxMessage) -> JSONValue {
    .object([
      .init("id", .string(message.id.description)), .init("messageId", .optional(message.summary.messageID)),
      .init("subject", .string(message.summary.subject)), .init("from", .string(message.summary.from)),
      .init("to", .string(message.summary.to)), .init("date", .optional(message.summary.date?.description)),
      .init("received", .string(message.received.description)), .init("size", .int(message.size)),
      .init("flags", .array(message.flags.names.map { .string($0) })), .init("folder", .string("\(message.folder)")),
      .init("hasAttachment", .bool(message.summary.hasAttachment)), .init("preview", .string(message.summary.preview)),
    ])
  }

  // MARK: Answers

  private static let notFound = problem(404, "Not Found", "there is nothing here")

  private static func json(_ status: Int, _ value: JSONValue) -> Answer {
    Answer(
      status: status, fields: [("Content-Type", "application/json"), ("Cache-Control", "no-store")], body: value.bytes)
  }

  /// An error as RFC 9457 has it.
  private static func problem(
    _ status: Int, _ title: String, _ detail: String, fields: [(name: String, value: String)] = []
  ) -> Answer {
    let value = JSONValue.object([
      .init("type", "about:blank"), .init("title", .string(title)), .init("status", .int(status)),
      .init("detail", .string(detail)),
    ])
    return Answer(
      status: status, fields: [("Content-Type", "application/problem+json")] + fields, body: value.bytes)
  }
}

public import Mail
public import Network
public import Pipeline

/// The REST interface to mailboxes: one request in, one answer out, no sockets.
///
/// Whoever holds a user's token sees that user's mailbox and nothing else: what belongs to others looks like what does
/// not exist. Errors are `application/problem+json`.
public struct WebAPI: Sendable {
  let store: MailStore
  let index: any SearchIndex
  private let recent: RecentAnswers
  private let log: Log
  private let readiness: @Sendable () -> Readiness

  /// The interface to `store`, and to what `index` finds in it.
  ///
  /// - Parameter readiness: asked for each `GET /readyz`.
  public init(
    store: MailStore, index: any SearchIndex, log: Log,
    readiness: @escaping @Sendable () -> Readiness = { Readiness(isReady: true, stages: []) }
  ) {
    self.store = store
    self.index = index
    recent = RecentAnswers(store)
    self.log = log
    self.readiness = readiness
  }

  /// Answers a request. Never throws: what goes wrong is an answer too.
  public func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard let question = RecentAnswers.Question(request) else {
      return await answer(to: request).tagged.fitted(to: request)
    }
    return await recent.answer(question) { await answer(to: request).tagged }.fitted(to: request)
  }

  private func answer(to request: HTTPRequest) async -> HTTPResponse {
    let route = WebRoute(request.path)
    var owner: Mailbox?
    if route.isPrivate {
      guard let token = request.bearerToken else { return Self.unauthorized("a bearer token is needed", challenge: "") }
      do { if let answer = try await shortcut(request, route, token) { return answer } } catch {
        return refused(error, request)
      }
      do { owner = try await store.mailbox(token: token) } catch { return refused(error, request) }
      guard owner != nil else { return Self.unknownToken }
    }
    guard route.exists else { return Self.notFound }
    guard request.method == "GET" || request.method == "HEAD" else {
      return .problem(
        405, "Method not allowed", detail: "\(request.path.prefix(100)) takes GET and HEAD",
        fields: [("Allow", "GET, HEAD")])
    }
    do throws(MailStoreError) {
      switch (route, owner) {
      case (.live, _): return .json(["live": true])
      case (.ready, _): return readiness().response
      case (.messages, let owner?): return try await messages(request, owner)
      case (.message(let id), let owner?):
        return try await message(id, owner) ?? Self.notFound
      case (.part(let id, let number), let owner?):
        return try await part(number, of: id, owner) ?? Self.notFound
      default: return Self.notFound
      }
    } catch { return refused(error, request) }
  }

  /// What is asked for most, in one visit to the database, token and all; nil: something else.
  private func shortcut(
    _ request: HTTPRequest, _ route: WebRoute, _ token: String
  ) async throws(MailStoreError) -> HTTPResponse? {
    guard request.method == "GET" || request.method == "HEAD" else { return nil }
    switch route {
    case .folders:
      guard let folders = try await store.folders(token: token) else { return Self.unknownToken }
      return .json(["folders": .array(folders.map { MailboxJSON.folder($0) })])
    case .raw(let id):
      guard let found = try await store.raw(id, token: token) else { return Self.unknownToken }
      return try found.map { message throws(MailStoreError) in try Self.raw(message, id) } ?? Self.notFound
    default: return nil
    }
  }

  // Each in a function of its own: a session keeps the memory of the largest that it has been in.
  @inline(never)
  private func part(_ number: String, of id: MessageID, _ owner: Mailbox) async throws(MailStoreError) -> HTTPResponse?
  {
    guard let bytes = try await store.raw(id, of: owner), let part = MIMEMessage(bytes).part(number) else { return nil }
    var response = Self.part(part, of: id)
    // The message itself is not needed any more, however long the client takes.
    if let size = response.body.size { response.keeping = store.holdMemory(size) }
    return response
  }

  @inline(never)
  private func message(_ id: MessageID, _ owner: Mailbox) async throws(MailStoreError) -> HTTPResponse? {
    guard let message = try await store.message(id, of: owner), let bytes = try await store.raw(id, of: owner) else {
      return nil
    }
    return .json(MailboxJSON.message(message, parts: MIMEMessage(bytes)))
  }

  private func messages(_ request: HTTPRequest, _ owner: Mailbox) async throws(MailStoreError) -> HTTPResponse {
    let query: MessageQuery
    do { query = try MessageQuery(request.query) } catch {
      return .problem(error.status, error.title, detail: error.detail)
    }
    var folder: Int64?
    if let text = query.folder {
      // Those of the owner are few: looking for it among them tells one of another user from none in no way.
      let mine = try await store.folders(of: owner)
      guard let found = mine.first(where: { MailboxJSON.id($0.id) == text }) else {
        return .problem(404, "Not found", detail: "there is no such folder")
      }
      folder = found.id
    }
    var thread: Int64?
    if let text = query.thread {
      // Numbers of a mailbox's own: one that it does not have is empty.
      guard let number = Int64(text), String(number) == text else {
        return .problem(404, "Not found", detail: "there is no such conversation")
      }
      thread = number
    }
    if let text = query.search { return try await search(text, query, folder: folder, thread: thread, owner) }
    var cursor: MessageCursor?
    if let text = query.cursor, !text.isEmpty {
      guard let read = MessageCursor(text) else { return Self.badCursor }
      cursor = read
    }
    // One more than asked for says whether there is more.
    let found = try await store.messages(
      of: owner, folder: folder, thread: thread, after: cursor, limit: query.limit + 1)
    let page = found.prefix(query.limit)
    let next = found.count > query.limit ? page.last?.cursor.description : nil
    return .json(["messages": .array(page.map { MailboxJSON.message($0) }), "cursor": .optional(next)])
  }

  // MARK: Answers

  static let badCursor = HTTPResponse.problem(
    400, "Bad request", detail: "cursor is not one that this list has given")

  private static let notFound = HTTPResponse.problem(404, "Not found", detail: "there is nothing here")

  private static let unknownToken = unauthorized("nobody has this token", challenge: ", error=\"invalid_token\"")

  private static func unauthorized(_ detail: String, challenge: String) -> HTTPResponse {
    .problem(
      401, "Unauthorized", detail: detail, fields: [("WWW-Authenticate", "Bearer realm=\"mailflow\"\(challenge)")])
  }

  /// A message may hold anything: a browser that opens it must neither show it as a page nor run what is in it.
  private static func raw(_ message: RawMessage, _ id: MessageID) throws(MailStoreError) -> HTTPResponse {
    var response = HTTPResponse.mail(
      200, type: "message/rfc822",
      fields: [
        ("Content-Disposition", "attachment; filename=\"\(id).eml\""),
        ("Content-Security-Policy", "sandbox; default-src 'none'"), ("Accept-Ranges", "bytes"), ("ETag", "\"\(id)\""),
      ], body: [])
    switch message.content {
    case .bytes(let content):
      var bytes: [UInt8] = []
      bytes.reserveCapacity(message.prefix.count + content.count)
      bytes += message.prefix
      bytes += content
      response.body = .bytes(bytes)
      // Large content counts as memory for as long as somebody has it, and this copy of it does not.
      response.keeping = Kept(content)
    case .file(let path, let size):
      let file: HTTPFile
      do { file = try HTTPFile(path: path) } catch {
        throw MailStoreError(.unavailable, "mail store: \(path): \(error)")
      }
      guard file.size == size else { throw MailStoreError(.damaged, "mail store: \(path) has \(file.size) bytes") }
      response.body = .file(file, 0..<size, behind: Array(message.prefix))
    }
    return response
  }

  /// Content as an object, which is what an answer can keep.
  private final class Kept: Sendable {
    private let bytes: Bytes
    init(_ bytes: Bytes) { self.bytes = bytes }
  }

  /// A part, decoded. Its name is in UTF-8, percent-encoded (RFC 8187).
  private static func part(_ part: MIMEPart, of id: MessageID) -> HTTPResponse {
    let name = part.fileName ?? "part-\(part.number)"
    return .mail(
      200, type: ContentType.safe(part),
      fields: [
        ("Content-Disposition", "attachment; filename*=UTF-8''\(ContentType.percentEncoded(name))"),
        ("Content-Security-Policy", "sandbox; default-src 'none'"), ("Accept-Ranges", "bytes"),
        ("ETag", "\"\(id)-\(part.number)\""),
      ], body: Array(part.content()))
  }

  /// The client learns that something is wrong; what it is, the log.
  private func refused(_ error: MailStoreError, _ request: HTTPRequest) -> HTTPResponse {
    log.write(
      .error, "request failed", ("path", String(request.path.prefix(200))), ("kind", error.kind.rawValue),
      ("error", error.description))
    switch error.kind {
    case .damaged: return .problem(500, "Internal server error", detail: "this cannot be read at the moment")
    case .full: return .problem(507, "Insufficient storage", detail: "there is no room on the server")
    default:
      return .problem(
        503, "Service unavailable", detail: "the mailboxes cannot be read at the moment", fields: [("Retry-After", "5")]
      )
    }
  }
}

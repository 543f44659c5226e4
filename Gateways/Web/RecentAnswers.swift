import Mail
import Network

/// What was answered lately, while no mailbox has changed since: whoever asks again is not worth a visit to the database.
struct RecentAnswers: Sendable {
  /// Whose answer, and to what.
  struct Question: Hashable {
    let token: String
    let path: String
    let query: [String]

    /// Nil for what is not a question to the mailboxes alone: searches go to an index of their own.
    init?(_ request: HTTPRequest) {
      guard request.method == "GET" || request.method == "HEAD", let token = request.bearerToken,
        !request.query.contains(where: { $0.name == "q" })
      else { return nil }
      (self.token, path) = (token, request.path)
      query = request.query.flatMap { [$0.name, $0.value] }
    }
  }

  private struct Answer {
    let response: HTTPResponse
    let version: Int64
  }

  /// Longer ones are not kept.
  private static let longest = 64 * 1024
  private let answers = Recent<Question, Answer>()
  private let watch: ChangeWatch

  init(_ store: MailStore) { watch = store.watch() }

  /// The answer as it was, if it would be the same now; otherwise what `make` makes of it.
  func answer(_ question: Question, _ make: () async -> HTTPResponse) async -> HTTPResponse {
    // Before anything is read: what changes while it is being made is not in it, perhaps.
    guard let version = watch.version else { return await make() }
    if let known = answers.find(question), known.version == version { return known.response }
    let response = await make()
    if response.status == 200, case .bytes(let bytes) = response.body, bytes.count <= Self.longest {
      var kept = response
      kept.keeping = nil
      answers.keep(Answer(response: kept, version: version), question, count: bytes.count + 1000)
    }
    return response
  }
}

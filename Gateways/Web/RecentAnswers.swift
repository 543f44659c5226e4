import Mail
import Network
import Pipeline

/// What was answered lately, while no mailbox has changed since: whoever asks again is not worth a visit to the database.
struct RecentAnswers: Sendable {
  /// Whose answer, and to what.
  struct Question: Hashable {
    let token: String
    let path: String
    let query: [String]

    /// Nil for what is not a question to the mailboxes alone: searches go to an index of their own, and how the service is
    /// does not depend on them.
    init?(_ request: HTTPRequest) {
      guard request.method == "GET" || request.method == "HEAD", request.path.hasPrefix("/v1/"),
        let token = request.bearerToken, !request.query.contains(where: { $0.name == "q" })
      else { return nil }
      (self.token, path) = (token, request.path)
      query = request.query.flatMap { [$0.name, $0.value] }
    }
  }

  private struct Answer {
    let response: HTTPResponse
    let version: Int64
    let until: ContinuousClock.Instant
  }

  /// Longer ones are not kept.
  private static let longest = 64 * 1024
  /// Nor for longer: files are looked at again now and then.
  private static let age = Duration.seconds(60)
  /// What an open file counts as: it has a descriptor, of which there are few.
  private static let fileCost = 64 * 1024
  private let answers = Monitor(Recent<Question, Answer>())
  private let watch: ChangeWatch

  init(_ store: MailStore) { watch = store.watch() }

  /// The answer as it was, if it would be the same now; otherwise what `make` makes of it.
  func answer(_ question: Question, _ make: () async -> HTTPResponse) async -> HTTPResponse {
    // Before anything is read: what changes while it is being made is not in it, perhaps.
    guard let version = watch.version else { return await make() }
    let now = ContinuousClock.now
    if let known = answers.withLock({ $0.find(question) }), known.version == version, now < known.until {
      return known.response
    }
    let response = await make()
    if response.status == 200, let cost = Self.cost(of: response.body) {
      var kept = response
      kept.keeping = nil
      let answer = Answer(response: kept, version: version, until: now + Self.age)
      answers.withLock { $0.keep(answer, question, count: cost) }
    }
    return response
  }

  /// What keeping it takes; nil: too much.
  private static func cost(of body: HTTPResponse.Body) -> Int? {
    switch body {
    case .bytes(let bytes): bytes.count <= longest ? bytes.count + 1000 : nil
    case .file: fileCost
    case .stream, .upgrade: nil
    }
  }
}

import Mail
import Network
import Pipeline

/// What was answered lately, while no mailbox has changed since: whoever asks again is not worth a visit to the database.
final class RecentAnswers: Sendable {
  /// Whose answer, and to what.
  struct Question: Hashable {
    let token: String
    let path: String
    let query: [String]

    /// Nil for what is not a question to the mailboxes alone (searches go to an index of their own, and how the service is
    /// does not depend on them), and for what is longer than such a question need be.
    init?(_ request: HTTPRequest) {
      guard request.method == "GET" || request.method == "HEAD", request.path.hasPrefix("/v1/"),
        request.path.utf8.count <= 200, request.query.count <= 8,
        request.query.allSatisfy({ $0.name != "q" && $0.name.utf8.count + $0.value.utf8.count <= 200 }),
        let token = request.bearerToken
      else { return nil }
      (self.token, path) = (token, request.path)
      query = request.query.flatMap { [$0.name, $0.value] }
    }

    var cost: Int { token.utf8.count + path.utf8.count + query.reduce(0) { $0 + $1.utf8.count + 32 } }
  }

  private struct State {
    var watch: ChangeWatch?
    /// What the watch said when the answers were made.
    var version: Int64?
    var answers = Recent<Question, HTTPResponse>()
    /// From then on the next question forgets all of it: files are looked at again now and then.
    var until = ContinuousClock.now
    /// Before that, no other watch is asked for.
    var nextWatch = ContinuousClock.now
  }

  /// Longer ones are not kept.
  private static let longest = 64 * 1024
  private static let age = Duration.seconds(60)
  /// What an open file counts as: it has a descriptor, of which there are few.
  private static let fileCost = 512 * 1024
  private let state = Monitor(State())
  private let store: MailStore

  init(_ store: MailStore) { self.store = store }

  /// The answer as it was, if it would be the same now; otherwise what `make` makes of it.
  func answer(_ question: Question, _ make: () async -> HTTPResponse) async -> HTTPResponse {
    if let known = state.withLock({ Self.refresh(&$0) ? $0.answers.find(question) : nil }) { return known }
    await watch()
    // Before anything is read: what changes while it is being made is not in it, perhaps.
    let before = state.withLock { Self.refresh(&$0) ? (watch: $0.watch, version: $0.version) : nil }
    let response = await make()
    guard let before, response.status == 200, let cost = Self.cost(of: response.body) else { return response }
    var kept = response
    kept.keeping = nil
    kept.encodeFields()
    state.withLock { state in
      guard state.watch === before.watch, state.version == before.version else { return }
      state.answers.keep(kept, question, count: cost + question.cost)
    }
    return response
  }

  /// Forgets what may be otherwise now. False: nobody can tell.
  private static func refresh(_ state: inout State) -> Bool {
    let version = state.watch?.version
    let now = ContinuousClock.now
    if version != state.version || now >= state.until {
      state.answers = Recent()
      (state.version, state.until) = (version, now + age)
    }
    if version == nil { state.watch = nil }
    return version != nil
  }

  /// Sees to it that changes are told of, unless that was in vain a moment ago.
  private func watch() async {
    let isNeeded = state.withLock { state in
      guard state.watch == nil, ContinuousClock.now >= state.nextWatch else { return false }
      state.nextWatch = .now + .seconds(1)
      return true
    }
    guard isNeeded, let watch = try? await store.watch() else { return }
    state.withLock { state in
      // Its numbers are its own.
      (state.watch, state.version, state.answers) = (watch, nil, Recent())
    }
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

import Pipeline

/// What a path names. Pure: whether it exists is another question.
enum WebRoute: Sendable, Equatable {
  case live
  case ready
  case folders
  case messages
  case message(MessageID)
  case raw(MessageID)
  case part(MessageID, String)
  /// Below `/v1`, and nothing there: said only to those who hold a token.
  case nothing
  /// Anywhere else.
  case elsewhere

  init(_ path: String) {
    switch path {
    case "/livez": self = .live
    case "/readyz": self = .ready
    default:
      // Of bytes, since this is done for every request, and comparing characters is slow.
      let segments = path.utf8.split(separator: UInt8(ascii: "/"), maxSplits: 8, omittingEmptySubsequences: false)
      let names = segments.dropFirst(2).map { Substring($0) }
      guard segments.count > 1, segments[0].isEmpty, Substring(segments[1]) == "v1" else {
        self = .elsewhere
        return
      }
      switch (names.first, names.count) {
      case ("folders", 1): self = .folders
      case ("messages", 1): self = .messages
      case ("messages", 2): self = MessageID(names[1]).map { .message($0) } ?? .nothing
      case ("messages", 3) where names[2] == "raw": self = MessageID(names[1]).map { .raw($0) } ?? .nothing
      case ("messages", 4) where names[2] == "parts":
        self = MessageID(names[1]).map { .part($0, String(names[3])) } ?? .nothing
      default: self = .nothing
      }
    }
  }

  /// Whether a token is asked for.
  var isPrivate: Bool {
    switch self {
    case .live, .ready, .elsewhere: false
    case .folders, .messages, .message, .raw, .part, .nothing: true
    }
  }

  var exists: Bool { self != .nothing && self != .elsewhere }
}

/// The query of `GET /v1/messages`, checked.
struct MessageQuery: Sendable, Equatable {
  static let limits = 1...500
  static let defaultLimit = 50

  var folder: String?
  /// Only messages of this conversation.
  var thread: String?
  var limit = defaultLimit
  var cursor: String?
  /// What is looked for; nil: everything is listed.
  var search: String?

  /// Why a query is refused: the status and what to say.
  struct Refusal: Error, Equatable {
    let status: Int
    let title: String
    let detail: String
  }

  /// Reads the pairs; a name that comes twice is refused, one that nobody knows is passed over.
  init(_ pairs: [(name: String, value: String)]) throws(Refusal) {
    var seen: [String] = []
    for (name, value) in pairs where ["folder", "thread", "limit", "cursor", "q"].contains(name) {
      guard !seen.contains(name) else { throw Self.bad("\(name) is given twice") }
      seen.append(name)
      switch name {
      case "folder": folder = value
      case "thread": thread = value
      case "cursor": cursor = value
      case "limit":
        guard let number = Int(value), Self.limits.contains(number), value.utf8.allSatisfy({ (48...57).contains($0) })
        else {
          throw Self.bad("limit is a number from \(Self.limits.lowerBound) to \(Self.limits.upperBound)")
        }
        limit = number
      default: search = value.isEmpty ? nil : value
      }
    }
  }

  private static func bad(_ detail: String) -> Refusal {
    Refusal(status: 400, title: "Bad request", detail: detail)
  }
}

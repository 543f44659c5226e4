import Mail
import Network
import Pipeline

extension WebAPI {
  /// `GET /v1/messages?q=…`: what the index finds, newest first, as the store has it now. Each message has a `snippet`
  /// beside what lists show.
  func search(
    _ text: String, _ query: MessageQuery, folder: Int64?, thread: Int64?, _ owner: Mailbox
  ) async throws(MailStoreError) -> HTTPResponse {
    let wanted: SearchQuery
    do { wanted = try SearchQuery(text) } catch { return .problem(400, "Bad request", detail: error.message) }
    var cursor: Int64?
    if let text = query.cursor, !text.isEmpty {
      guard let read = SearchCursor.read(text) else { return Self.badCursor }
      cursor = read
    }
    var found: [JSONValue] = []
    var next: Int64?
    // What was deleted, or is in another folder, leaves a page short: then the index is asked again, within reason.
    asking: for _ in 0..<Self.mostQuestions {
      let hits = try await index.search(wanted, in: owner.id, after: cursor, limit: query.limit + 1)
      let messages = try await store.messages(hits.map(\.id), of: owner)
      for hit in hits {
        guard let message = messages[hit.id], folder == nil || message.folder == folder,
          thread == nil || message.thread == thread
        else {
          cursor = hit.cursor
          continue
        }
        if found.count == query.limit {
          next = cursor
          break asking
        }
        cursor = hit.cursor
        found.append(MailboxJSON.message(message, snippet: .optional(hit.snippet)))
      }
      guard hits.count > query.limit else {
        next = nil
        break
      }
      next = cursor
    }
    return .json(["messages": .array(found), "cursor": .optional(next.map(SearchCursor.text))])
  }

  private static let mostQuestions = 20
}

/// How a client gets a place in search results: 16 hexadecimal digits.
enum SearchCursor {
  static func text(_ place: Int64) -> String {
    let digits = String(UInt64(bitPattern: place), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  static func read(_ text: String) -> Int64? {
    guard text.utf8.count == 16, text.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
      return nil
    }
    return UInt64(text, radix: 16).map { Int64(bitPattern: $0) }
  }
}

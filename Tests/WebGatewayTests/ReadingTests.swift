import Foundation
import Mail
import Network
import Pipeline
import Testing

@testable import WebGateway

/// Search, parts, entity tags and ranges.
@Suite struct ReadingTests {
  private static let mail = """
    From: Alice <alice@example.com>\r
    Subject: two parts\r
    MIME-Version: 1.0\r
    Content-Type: multipart/mixed; boundary=b\r
    \r
    --b\r
    Content-Type: text/plain; charset=utf-8\r
    \r
    The quarterly figures <are> attached.\r
    --b\r
    Content-Type: application/pdf; name="x"\r
    Content-Transfer-Encoding: base64\r
    Content-Disposition: attachment; filename*=utf-8''%E2%82%AC%20figures.pdf\r
    \r
    AAECAwQFBgcICQ==\r
    --b--\r

    """

  private func deliver(_ server: Mailboxes, _ count: Int = 1) async throws -> [MessageID] {
    var ids: [MessageID] = []
    for number in 0..<count {
      let id = MessageID(at: SystemClock.shared.now, random: SystemRandom())
      let bytes = Bytes(Self.mail)
      let received = Timestamp(milliseconds: 1_700_000_000_000 + Int64(number))
      _ = try await server.store.store([
        Delivery(
          mailbox: server.alice.mailbox, folder: number % 5 == 4 ? .junk : .inbox, id: id,
          content: try await server.store.prepare(bytes), summary: MessageSummary(bytes), received: received)
      ])
      try await server.index.add([
        SearchDocument(
          mailbox: server.alice.mailbox.id, id: id, received: received, subject: "two parts", from: "alice", to: "",
          text: "The quarterly figures <are> attached.")
      ])
      ids.append(id)
    }
    return ids
  }

  @Test func searchShowsWhatListsShowAndASnippet() async throws {
    let server = try await Mailboxes()
    let id = try await deliver(server)[0]
    let json = try await server.get("/v1/messages", [("q", "figures from:alice")]).json
    let messages = try #require(json["messages"] as? [[String: Any]])
    #expect(messages.map { $0["id"] as? String } == [id.description])
    #expect(messages[0]["subject"] as? String == "two parts")
    #expect(messages[0]["snippet"] as? String == "The quarterly <mark>figures</mark> &lt;are&gt; attached.")
    #expect(json["cursor"] is NSNull)
  }

  @Test func searchPagesThroughAFolderAndPassesOverWhatIsGone() async throws {
    let server = try await Mailboxes()
    let ids = try await deliver(server, 25)
    try await server.index.add([
      SearchDocument(
        mailbox: server.alice.mailbox.id, id: server.bob.messages[0],
        received: Timestamp(milliseconds: 1_700_000_000_007),
        subject: "", from: "alice", to: "", text: "figures of a message that is gone")
    ])
    let folders = try #require(await server.get("/v1/folders").json["folders"] as? [[String: Any]])
    let junk = try #require(folders[1]["id"] as? String)
    for (folder, expected) in [
      (nil, ids.reversed().map(\.description)),
      (junk, ids.enumerated().filter { $0.offset % 5 == 4 }.map(\.element.description).reversed()),
    ] as [(String?, [String])] {
      var seen: [String] = []
      var cursor: String?
      repeat {
        var query = [(name: "q", value: "figures"), (name: "limit", value: "4")]
        if let folder { query.append(("folder", folder)) }
        if let cursor { query.append(("cursor", cursor)) }
        let json = try await server.get("/v1/messages", query).json
        seen += try #require(json["messages"] as? [[String: Any]]).compactMap { $0["id"] as? String }
        cursor = json["cursor"] as? String
      } while cursor != nil && seen.count < 100
      #expect(seen == expected)
    }
  }

  @Test func aConversationIsAList() async throws {
    let server = try await Mailboxes()
    for (name, answers) in [("q", ""), ("a", "In-Reply-To: <q@y>\r\n"), ("other", "")] {
      let bytes = Bytes("Message-ID: <\(name)@y>\r\n\(answers)Subject: \(name)\r\n\r\n")
      let id = MessageID(at: SystemClock.shared.now, random: SystemRandom())
      _ = try await server.store.store([
        Delivery(
          mailbox: server.alice.mailbox, id: id, content: try await server.store.prepare(bytes),
          summary: MessageSummary(bytes), received: SystemClock.shared.now)
      ])
      try await server.index.add([
        SearchDocument(
          mailbox: server.alice.mailbox.id, id: id, received: SystemClock.shared.now, subject: name, from: "", to: "",
          text: "everywhere")
      ])
    }
    func list(_ query: [(name: String, value: String)]) async throws -> [[String: Any]] {
      try #require(await server.get("/v1/messages", query).json["messages"] as? [[String: Any]])
    }
    let all = try await list([("limit", "3")])
    #expect(all.map { $0["subject"] as? String } == ["other", "a", "q"])
    let thread = try #require(all[1]["threadId"] as? String)
    #expect(all[2]["threadId"] as? String == thread && all[0]["threadId"] as? String != thread)
    for query in [[("thread", thread)], [("thread", thread), ("q", "everywhere")]] as [[(name: String, value: String)]]
    {
      #expect(try await list(query).map { $0["subject"] as? String } == ["a", "q"])
    }
    #expect(try await list([("thread", "99")]).isEmpty)
    for none in ["x", "", "01", "-"] {
      #expect(try await server.get("/v1/messages", [("thread", none)]).response.status == 404, "\(none)")
    }
  }

  @Test func partsAreListedAndGivenOutDecoded() async throws {
    let server = try await Mailboxes()
    let id = try await deliver(server)[0]
    let parts = try #require(await server.get("/v1/messages/\(id)").json["parts"] as? [[String: Any]])
    #expect(parts.compactMap { $0["number"] as? String } == ["1", "2"])
    #expect(parts.compactMap { $0["type"] as? String } == ["text/plain", "application/pdf"])
    #expect(parts[1]["fileName"] as? String == "€ figures.pdf" && parts[1]["size"] as? Int == 10)
    #expect(parts.compactMap { $0["isAttachment"] as? Bool } == [false, true])
    let part = try await server.get("/v1/messages/\(id)/parts/2").response
    #expect(part.content == Array(0..<10))
    #expect(part.field("content-type") == "application/pdf")
    #expect(part.field("content-disposition") == "attachment; filename*=UTF-8''%E2%82%AC%20figures.pdf")
    #expect(
      try await server.get("/v1/messages/\(id)/parts/1").response.field("content-type") == "text/plain; charset=utf-8")
    for missing in ["3", "", "1.1", "x"] {
      #expect(try await server.get("/v1/messages/\(id)/parts/\(missing)").response.status == 404)
    }
    #expect(try await server.get("/v1/messages/\(id)/parts/2", token: server.bob.token).response.status == 404)
  }

  @Test(
    arguments: [
      ("bytes=0-3", 206, [0, 1, 2, 3], "bytes 0-3/10"), ("bytes=8-", 206, [8, 9], "bytes 8-9/10"),
      ("bytes=-2", 206, [8, 9], "bytes 8-9/10"), ("bytes=-99", 206, Array(0..<10), "bytes 0-9/10"),
      ("bytes=5-999", 206, [5, 6, 7, 8, 9], "bytes 5-9/10"), ("bytes=10-", 416, nil, "bytes */10"),
      ("bytes=-0", 416, nil, "bytes */10"), ("bytes=3-1", 200, Array(0..<10), nil),
      ("bytes=0-1,3-4", 200, Array(0..<10), nil), ("pages=1-2", 200, Array(0..<10), nil),
      ("bytes=99999999999999999999-", 200, Array(0..<10), nil),
    ] as [(String, Int, [UInt8]?, String?)])
  func ranges(_ range: String, _ status: Int, _ bytes: [UInt8]?, _ contentRange: String?) async throws {
    let server = try await Mailboxes()
    let id = try await deliver(server)[0]
    let response = await server.api.respond(
      to: server.request("/v1/messages/\(id)/parts/2", fields: [("Range", range)]))
    #expect(response.status == status)
    if let bytes { #expect(response.content == bytes) }
    #expect(response.field("content-range") == contentRange)
  }

  @Test func whatAClientHasIsNotSentAgain() async throws {
    let server = try await Mailboxes()
    let id = try await deliver(server)[0]
    for path in [
      "/v1/folders", "/v1/messages", "/v1/messages/\(id)", "/v1/messages/\(id)/raw", "/v1/messages/\(id)/parts/2",
    ] {
      let first = try await server.get(path).response
      let tag = try #require(first.field("etag"))
      func again(_ field: (String, String)...) async -> HTTPResponse {
        await server.api.respond(to: server.request(path, fields: field))
      }
      let second = await again(("If-None-Match", "\"other\", W/\(tag)"))
      #expect(second.status == 304 && second.content.isEmpty && second.field("etag") == tag, "\(path)")
      #expect(await again(("If-None-Match", "\"other\"")).status == 200)
      #expect(await again(("Range", "bytes=0-0"), ("If-Range", "\"other\"")).status == 200)
    }
    // A change is another tag.
    let before = try await server.get("/v1/messages").response.field("etag")
    _ = try await deliver(server)
    #expect(try await server.get("/v1/messages").response.field("etag") != before)
  }
}

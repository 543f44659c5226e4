import Foundation
import Mail
import Network
import Pipeline
import Synchronization
import Testing
import WebGateway

@Suite struct WebAPITests {
  @Test func folders() async throws {
    let server = try await Mailboxes()
    let (response, json) = try await server.get("/v1/folders")
    #expect(response.status == 200)
    #expect(response.field("content-type") == "application/json")
    let folders = try #require(json["folders"] as? [[String: Any]])
    #expect(folders.compactMap { $0["role"] as? String } == ["inbox", "junk", "sent", "drafts", "trash", "archive"])
    #expect(folders[0]["name"] as? String == "Inbox")
    #expect(folders[0]["total"] as? Int == 6)
    #expect(folders[0]["unread"] as? Int == 5)
    #expect(folders[0]["id"] is String)
  }

  @Test func listsNewestFirst() async throws {
    let server = try await Mailboxes()
    let (response, json) = try await server.get("/v1/messages")
    #expect(response.status == 200)
    let messages = try #require(json["messages"] as? [[String: Any]])
    #expect(messages.compactMap { $0["id"] as? String } == server.alice.messages.reversed().map(\.description))
    #expect(json["cursor"] is NSNull)
    let seen = messages[5]
    #expect(seen["subject"] as? String == "N° 1 \"\\")
    #expect(seen["from"] as? String == "\"S \" <s@x>")
    #expect(seen["messageId"] as? String == "1@x")
    #expect(seen["flags"] as? [String] == ["seen"])
    #expect(seen["date"] is NSNull)
    #expect(seen["received"] as? String == "1970-01-01T00:00:01.000Z")
    #expect(seen["hasAttachment"] as? Bool == false)
    #expect(seen["preview"] as? String == "Hello 1")
    #expect(seen["size"] as? Int == Mailboxes.text(1).utf8.count + 20)
    #expect(messages.last?["folder"] as? String != seen["folder"] as? String)
  }

  @Test func pagesAndFolders() async throws {
    let server = try await Mailboxes()
    var seen: [String] = []
    var query: [(name: String, value: String)] = [("limit", "3")]
    for _ in 0..<10 {
      let json = try await server.get("/v1/messages", query).json
      seen += try #require(json["messages"] as? [[String: Any]]).compactMap { $0["id"] as? String }
      guard let cursor = json["cursor"] as? String else { break }
      query = [("limit", "3"), ("cursor", cursor)]
    }
    #expect(seen == server.alice.messages.reversed().map(\.description))
    let folders = try #require(await server.get("/v1/folders").json["folders"] as? [[String: Any]])
    let junk = try #require(folders[1]["id"] as? String)
    let inJunk = try #require(await server.get("/v1/messages", [("folder", junk)]).json["messages"] as? [[String: Any]])
    #expect(inJunk.count == 1)
  }

  @Test func messageAndRaw() async throws {
    let server = try await Mailboxes()
    let id = server.alice.messages[2]
    let json = try await server.get("/v1/messages/\(id)").json
    #expect(json["id"] as? String == id.description)
    #expect(json["subject"] as? String == "N° 2 \"\\")
    let raw = try await server.get("/v1/messages/\(id)/raw").response
    #expect(raw.field("Content-Type") == "message/rfc822")
    #expect(raw.content == Array(("Return-Path: <s@x>\r\n" + Mailboxes.text(2)).utf8))
    #expect(raw.field("Content-Security-Policy")?.contains("sandbox") == true)
    let upper = try await server.get("/v1/messages/\(id.description.uppercased())").response
    #expect(upper.status == 200)
  }

  /// What was answered is not looked for again, unless somebody has changed something, in whatever process.
  @Test func changesOfOthersAreSeenAtOnce() async throws {
    let server = try await Mailboxes()
    let other = MailStore(folder: server.folder, mode: .inline)
    let raw = "/v1/messages/\(server.bob.messages[0])/raw"
    func total() async throws -> Int? {
      let folders = try await server.get("/v1/folders", token: server.bob.token).json["folders"] as? [[String: Any]]
      return folders?.first?["total"] as? Int
    }
    for count in 1..<4 {
      for _ in 0..<2 { #expect(try await total() == count) }
      #expect(try await server.get(raw, token: server.bob.token).response.status == 200)
      try await server.deliver(Bytes("Subject: \(count)\r\n\r\n"), to: server.bob.mailbox, by: other)
    }
    let mine = try await server.get("/v1/folders").response
    #expect(try await server.get("/v1/folders", token: server.bob.token).response.content != mine.content)
    _ = try await other.removeUser(#require(EmailAddress("bob@example.com")))
    for path in ["/v1/folders", raw] {
      #expect(try await server.get(path, token: server.bob.token).response.status == 401)
    }
    #expect(try await server.get("/v1/folders").response.content == mine.content)
    let two = try await server.get("/v1/messages", [("limit", "2")]).response
    let three = try await server.get("/v1/messages", [("limit", "3")]).response
    let long = [(name: "limit", value: "2")] + (0..<8).map { (name: "x\($0)", value: "") }
    #expect(try await server.get("/v1/messages", long).response.content == two.content)
    // They are not asked for again: that could not be answered any more.
    await server.store.close()
    for method in ["GET", "HEAD"] {
      #expect(try await server.get("/v1/folders", method: method).response.content == mine.content)
    }
    #expect(try await server.get("/v1/messages", [("limit", "2")]).response.content == two.content)
    #expect(try await server.get("/v1/messages", [("limit", "3")]).response.content == three.content)
    let tag = try #require(two.field("ETag"))
    let known = server.request("/v1/messages", [("limit", "2")], fields: [("If-None-Match", tag)])
    #expect(await server.api.respond(to: known).status == 304)
    #expect(try await server.get("/v1/messages", long).response.status == 503)
    #expect(try await server.get("/v1/messages").response.status == 503)
    await other.close()
  }

  @Test func whatOthersHaveLooksAbsent() async throws {
    let server = try await Mailboxes()
    let theirs = server.bob.messages[0]
    let absent = MessageID(at: SystemClock.shared.now, random: SystemRandom())
    for suffix in ["", "/raw"] {
      let one = try await server.get("/v1/messages/\(theirs)\(suffix)").response
      let other = try await server.get("/v1/messages/\(absent)\(suffix)").response
      #expect(one.status == 404)
      #expect(one.content == other.content)
      #expect(try await server.get("/v1/messages/\(theirs)\(suffix)", token: server.bob.token).response.status == 200)
    }
    let folders = try await server.store.folders(of: server.bob.mailbox)
    let one = try await server.get("/v1/messages", [("folder", String(folders[0].id))]).response
    let other = try await server.get("/v1/messages", [("folder", "999999")]).response
    #expect(one.status == 404)
    #expect(one.content == other.content)
    // A cursor is a place in time, not a right: alice's leads bob through his own mail only.
    let cursor = try #require(await server.get("/v1/messages", [("limit", "1")]).json["cursor"] as? String)
    let json = try await server.get("/v1/messages", [("cursor", cursor)], token: server.bob.token).json
    let ids = try #require(json["messages"] as? [[String: Any]]).compactMap { $0["id"] as? String }
    #expect(ids == server.bob.messages.reversed().map(\.description))
  }

  @Test(arguments: [
    ("/v1/messages/x", 404), ("/v1/messages/", 404), ("/v1/messages//raw", 404), ("/v1/messages/../folders", 404),
    ("/v1/messages/' OR 1=1 --", 404), ("/v1/messages/00000000-0000-0000-0000-000000000000", 404),
    ("/v1/messages/00000000-0000-0000-0000-000000000000/raw/x", 404), ("/v1/messages/\u{0}", 404),
    ("/v1/messages/00000000-0000-0000-0000-0000000000é0", 404), ("/v1", 404), ("/v1/", 404), ("/v1/folders/", 404),
    ("/v1/FOLDERS", 404), ("/v2/folders", 404), ("/", 404), ("", 404), ("v1/folders", 404), ("//v1/folders", 404),
    ("/livez/", 404), ("/livez", 200), ("/readyz", 200),
  ])
  func hostilePaths(_ path: String, _ status: Int) async throws {
    let server = try await Mailboxes()
    let (response, json) = try await server.get(path)
    #expect(response.status == status)
    guard status != 200 else { return }
    #expect(response.field("Content-Type") == "application/problem+json")
    #expect(json["status"] as? Int == status)
    #expect(json["title"] is String && json["detail"] is String)
  }

  @Test(
    arguments: [
      ([("limit", "0")], 400), ([("limit", "501")], 400), ([("limit", "-1")], 400), ([("limit", "")], 400),
      ([("limit", "1e3")], 400), ([("limit", "+5")], 400), ([("limit", "99999999999999999999")], 400),
      ([("limit", "٣")], 400), ([("limit", "1"), ("limit", "2")], 400), ([("cursor", "x")], 400),
      ([("cursor", String(repeating: "f", count: 31))], 400), ([("cursor", String(repeating: "F", count: 32))], 400),
      ([("cursor", String(repeating: "f", count: 32))], 200),
      ([("cursor", "8" + String(repeating: "0", count: 31))], 200),
      ([("cursor", "")], 200), ([("cursor", "' OR 1=1 --")], 400), ([("cursor", "\u{0}")], 400),
      ([("folder", "")], 404), ([("folder", "x")], 404), ([("folder", "01")], 404), ([("folder", "-1")], 404),
      ([("folder", "1 OR 1=1")], 404), ([("folder", "9223372036854775808")], 404),
      ([("folder", "1"), ("folder", "1")], 400),
      ([("q", "from:alice")], 200), ([("q", "before:never")], 400), ([("q", "x"), ("cursor", "zz")], 400),
      ([("q", "")], 200), ([("unknown", "x")], 200), ([("limit", "500")], 200),
    ] as [([(String, String)], Int)])
  func hostileQueries(_ query: [(String, String)], _ status: Int) async throws {
    let server = try await Mailboxes()
    let response = try await server.get("/v1/messages", query.map { (name: $0.0, value: $0.1) }).response
    #expect(response.status == status)
    if status != 200 { #expect(response.field("Content-Type") == "application/problem+json") }
  }

  @Test func tokens() async throws {
    let server = try await Mailboxes()
    for path in ["/v1/folders", "/v1/messages", "/v1/nothing", "/v1/messages/x"] {
      let none = await server.api.respond(to: HTTPRequest("GET", path))
      #expect(none.status == 401)
      #expect(none.field("WWW-Authenticate") == "Bearer realm=\"mailflow\"")
      for token in [
        "x", String(server.alice.token.dropLast()), server.alice.token.uppercased(),
        String(repeating: "0", count: 64),
      ] {
        let wrong = try await server.get(path, token: token).response
        #expect(wrong.status == 401)
        #expect(wrong.field("WWW-Authenticate")?.contains("invalid_token") == true)
      }
    }
  }

  @Test(
    arguments: [
      ("Bearer abc", "abc"), ("bearer  abc", "abc"), ("Basic abc", nil), ("Bearer", nil), ("Bearer a b", nil),
      ("", nil),
      ("Bearer \(String(repeating: "x", count: 1025))", nil),
    ] as [(String, String?)])
  func readsAuthorization(_ field: String, _ token: String?) {
    #expect(HTTPRequest("GET", "/", fields: [("Authorization", field)]).bearerToken == token)
  }

  @Test(arguments: ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "", "TRACE"])
  func otherMethods(_ method: String) async throws {
    let server = try await Mailboxes()
    for path in ["/v1/folders", "/v1/messages", "/v1/messages/\(server.alice.messages[0])", "/livez", "/readyz"] {
      let response = try await server.get(path, method: method).response
      #expect(response.status == 405)
      #expect(response.field("Allow") == "GET, HEAD")
    }
    #expect(try await server.get("/v1/nothing", method: method).response.status == 404)
    #expect(try await server.get("/v1/folders", method: "HEAD").response.status == 200)
  }

  @Test func readiness() async throws {
    let server = try await Mailboxes()
    let api = WebAPI(store: server.store, index: server.index, log: Log(clock: SystemClock.shared) { _ in }) {
      Readiness(
        isReady: false,
        stages: [
          .init(flow: "inbound", stage: "store", state: "circuit-open", reason: "mail store.down"),
          .init(flow: "inbound", stage: "index", state: "paused", reason: ""),
        ])
    }
    let response = await api.respond(to: HTTPRequest("GET", "/readyz"))
    #expect(response.status == 503)
    #expect(
      String(decoding: response.content, as: UTF8.self)
        == #"{"ready":false,"stages":[{"flow":"inbound","stage":"store","state":"circuit-open","reason":"mail store.down"},"#
        + #"{"flow":"inbound","stage":"index","state":"paused","reason":""}]}"#)
  }

  /// Also to whoever shows a token: what the mailboxes say may be answered again, not this.
  @Test func readinessIsAskedForEachTime() async throws {
    let server = try await Mailboxes()
    let asked = Mutex(0)
    let api = WebAPI(store: server.store, index: server.index, log: Log(clock: SystemClock.shared) { _ in }) {
      asked.withLock { $0 += 1 }
      return Readiness(isReady: true, stages: [])
    }
    for count in 1..<4 {
      #expect(await api.respond(to: server.request("/readyz")).status == 200)
      #expect(asked.withLock { $0 } == count)
    }
  }

  @Test func aStoreThatIsAwayIsSaid() async throws {
    let server = try await Mailboxes()
    await server.store.close()
    let response = try await server.get("/v1/folders").response
    #expect(response.status == 503)
    #expect(response.field("Retry-After") == "5")
    #expect(!String(decoding: response.content, as: UTF8.self).contains("closed"))
    #expect(try await server.get("/livez").response.status == 200)
  }
}

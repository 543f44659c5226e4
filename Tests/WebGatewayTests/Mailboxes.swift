import Foundation
import Mail
import Network
import Pipeline
import Testing
import WebGateway

/// Two users with mail, and the interface to their mailboxes.
final class Mailboxes: Sendable {
  let folder: String
  let store: MailStore
  let index: any SearchIndex
  let api: WebAPI
  let alice: (mailbox: Mailbox, token: String, messages: [MessageID])
  let bob: (mailbox: Mailbox, token: String, messages: [MessageID])

  init() async throws {
    let folder = NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let store = MailStore(folder: folder, mode: .inline)
    self.folder = folder
    self.store = store
    let index = FTSSearchIndex(folder: folder, mode: .inline)
    self.index = index
    api = WebAPI(store: store, index: index, log: Log(clock: SystemClock.shared) { _ in })
    alice = try await Self.user("alice", count: 7, store)
    bob = try await Self.user("bob", count: 2, store)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  static func text(_ index: Int) -> String {
    "From: \"S\u{1}\" <s@x>\r\nSubject: =?utf-8?q?N=C2=B0?= \(index) \"\\\r\nMessage-ID: <\(index)@x>\r\n\r\nHello \(index)\r\n"
  }

  /// Has a message in a mailbox, alice's unless given.
  ///
  /// - Parameter other: the store that does it, as another process has it.
  @discardableResult
  func deliver(_ bytes: Bytes, to mailbox: Mailbox? = nil, by other: MailStore? = nil) async throws -> MessageID {
    let store = other ?? store
    let id = MessageID(at: SystemClock.shared.now, random: SystemRandom())
    _ = try await store.store([
      Delivery(
        mailbox: mailbox ?? alice.mailbox, folder: .inbox, id: id, prefix: Bytes("Return-Path: <s@x>\r\n"),
        content: try await store.prepare(bytes), summary: MessageSummary(bytes), received: SystemClock.shared.now)
    ])
    return id
  }

  private static func user(
    _ name: String, count: Int, _ store: MailStore
  ) async throws -> (mailbox: Mailbox, token: String, messages: [MessageID]) {
    let address = try #require(EmailAddress("\(name)@example.com"))
    let mailbox = try await store.addUser(address).user.mailbox
    let token = try #require(await store.addToken("test", for: address))
    var ids: [MessageID] = []
    for index in 0..<count {
      let id = MessageID(at: SystemClock.shared.now, random: SystemRandom())
      let bytes = Bytes(text(index))
      _ = try await store.store([
        Delivery(
          mailbox: mailbox, folder: index == 0 ? .junk : .inbox, id: id, prefix: Bytes("Return-Path: <s@x>\r\n"),
          content: try await store.prepare(bytes), summary: MessageSummary(bytes), flags: index == 1 ? .seen : [],
          received: Timestamp(milliseconds: Int64(index) * 1000))
      ])
      ids.append(id)
    }
    return (mailbox, token, ids)
  }

  func get(
    _ path: String, _ query: [(name: String, value: String)] = [], token: String? = nil, method: String = "GET"
  ) async throws -> (response: HTTPResponse, json: [String: Any]) {
    let response = await api.respond(to: request(path, query, token: token, method: method))
    let json = try? JSONSerialization.jsonObject(with: Data(response.content)) as? [String: Any]
    return (response, json ?? [:])
  }

  /// A request with a token: alice's unless given.
  func request(
    _ path: String, _ query: [(name: String, value: String)] = [], token: String? = nil, method: String = "GET",
    fields: [(name: String, value: String)] = []
  ) -> HTTPRequest {
    HTTPRequest(
      method, path, query: query, fields: [("Authorization", "Bearer \(token ?? alice.token)")] + fields)
  }
}

extension HTTPResponse {
  /// The bytes of an answer that has them all.
  var content: [UInt8] {
    if case .bytes(let bytes) = body { bytes } else { [] }
  }
}

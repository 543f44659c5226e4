import Foundation
import Mail
import Pipeline
import SQLite
import Testing

/// What is kept of content that was read, and for whom.
@Suite struct KeptTests {
  /// It is found in the database each time, token and all; only its bytes are not read again.
  @Test func whatIsGoneOrNotTheirsIsNotServed() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "mailflow-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let store = MailStore(folder: folder, mode: .inline)
    func user(_ name: String) async throws -> (mailbox: Mailbox, token: String) {
      let address = try #require(EmailAddress("\(name)@example.com"))
      let mailbox = try await store.addUser(address).user.mailbox
      return (mailbox, try #require(try await store.addToken("test", for: address)))
    }
    let (alice, bob) = (try await user("alice"), try await user("bob"))
    let id = newID()
    let content = Bytes("Subject: x\r\n\r\n\(UUID())\r\n")
    _ = try await store.store([
      Delivery(
        mailbox: alice.mailbox, folder: .inbox, id: id, origin: nil, prefix: .empty,
        content: try await store.prepare(content), summary: MessageSummary(content),
        received: Timestamp(milliseconds: 0))
    ])
    for _ in 0..<2 {
      #expect(try await inMemory(store.raw(id, token: alice.token)) == content)
      #expect(try await store.raw(id, token: bob.token).map { $0 == nil } == true)
      #expect(try await store.raw(id, token: String(repeating: "0", count: 64)) == nil)
    }
    #expect(try await store.folders(token: alice.token) == store.folders(of: alice.mailbox))
    let database = try Database(path: folder + "/mail.db")
    // What was verified stays as it was.
    try database.execute("UPDATE contents SET bytes=x'00'")
    #expect(try await inMemory(store.raw(id, token: alice.token)) == content)
    try database.execute("DELETE FROM tokens")
    #expect(try await store.raw(id, token: alice.token) == nil)
    #expect(try await store.folders(token: alice.token) == nil)
    await store.close()
  }

  private func inMemory(_ message: RawMessage??) -> Bytes? {
    guard case .bytes(let bytes)? = message??.content else { return nil }
    return bytes
  }
}

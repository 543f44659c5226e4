import Foundation
import Mail
import Pipeline
import SQLite
import Testing

/// A user who goes, with everything.
@Suite struct RemovalTests {
  private func deliver(_ text: String, to mailbox: Mailbox, _ store: MailStore) async throws {
    let bytes = Bytes(text)
    _ = try await store.store([
      Delivery(
        mailbox: mailbox, id: newID(), content: try await store.prepare(bytes), summary: MessageSummary(bytes),
        received: SystemClock.shared.now)
    ])
  }

  @Test func nothingIsLeftButWhatOthersHave() async throws {
    let folder = try TemporaryFolder()
    let store = MailStore(folder: folder.path, mode: .inline)
    let address = try #require(EmailAddress("alice@example.com"))
    let alice = try await store.addUser(address, password: "secret").user.mailbox
    let bob = try await store.addUser(try #require(EmailAddress("bob@example.com"))).user.mailbox
    let token = try #require(await store.addToken("t", for: address))
    // More than one transaction takes.
    for number in 0..<520 { try await deliver("Message-ID: <\(number)@x>\r\n\r\nmine \(number)\r\n", to: alice, store) }
    let (shared, large) = ("A: b\r\n\r\nshared", "A: b\r\n\r\n" + String(repeating: "large ", count: 50_000))
    for mailbox in [alice, bob] { try await deliver(shared, to: mailbox, store) }
    try await deliver(large, to: alice, store)
    try await deliver(large, to: alice, store)

    let planned = try #require(await store.removal(of: address))
    #expect(planned.messages == 523 && planned.freed == 520 && planned.left == 1)
    #expect(try await store.overview().map(\.messages) == [523, 1])
    let removed = try #require(await store.removeUser(address))
    #expect(removed == planned)

    #expect(try await store.user(address) == nil)
    #expect(try await store.removeUser(address) == nil)
    #expect(try await store.mailbox(token: token) == nil)
    #expect(try await store.logIn(address, password: "secret") == nil)
    #expect(try await store.messages(of: alice, limit: 10).isEmpty)
    let bobs = try #require(await store.messages(of: bob, limit: 10).first)
    #expect(try await store.raw(bobs.id, of: bob) == Bytes(shared))
    let database = try Database(path: folder.path + "/mail.db")
    for (table, count) in [
      ("users", 1), ("tokens", 0), ("folders", 6), ("messages", 1), ("contents", 1), ("thread_names", 0),
    ] as [(String, Int64)] {
      #expect(try database.int("SELECT count(*) FROM \(table)") == count, "\(table)")
    }
    #expect(try database.integrity() == "ok")
    // A namesake begins with nothing.
    let namesake = try await store.addUser(address).user
    #expect(namesake.mailbox.id != alice.id && namesake.used == 0)
    await store.close()
  }

  @Test func aRemovalThatWasInterruptedLeavesTrueCounts() async throws {
    let folder = try TemporaryFolder()
    let store = MailStore(folder: folder.path, mode: .inline)
    let alice = try await store.addUser(try #require(EmailAddress("alice@example.com"))).user.mailbox
    for number in 0..<510 { try await deliver("A: \(number)\r\n\r\n", to: alice, store) }
    // The transaction that would remove the user fails: the one before it is done.
    let database = try Database(path: folder.path + "/mail.db")
    try database.execute(
      "CREATE TRIGGER no BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'interrupted'); END")
    await #expect(throws: MailStoreError.self) { try await store.removeUser(alice.address) }
    let left = try await store.messages(of: alice, limit: 100)
    #expect(left.count == 10)
    let inbox = try #require(await store.folders(of: alice).first)
    #expect(inbox.total == 10 && inbox.unread == 10)
    #expect(try await store.user(alice.address)?.used == left.reduce(0) { $0 + Int64($1.size) })
    try database.execute("DROP TRIGGER no")
    #expect(try await store.removeUser(alice.address)?.messages == 10)
    await store.close()
  }

  @Test func nothingIsFoundAnyMore() async throws {
    let folder = try TemporaryFolder()
    let index = FTSSearchIndex(folder: folder.path, mode: .inline)
    func document(_ mailbox: Int64) -> SearchDocument {
      SearchDocument(
        mailbox: mailbox, id: newID(), received: SystemClock.shared.now, subject: "secret", from: "", to: "",
        text: "secret 비밀번호")
    }
    try await index.add((0..<401).map { _ in document(1) } + [document(2)])
    #expect(try await index.removeAll(of: 1) == 401)
    #expect(try await index.removeAll(of: 1) == 0)
    for query in ["secret", "비밀", ""] {
      #expect(try await index.search(try SearchQuery(query), in: 1, after: nil, limit: 10).isEmpty)
      #expect(try await index.search(try SearchQuery(query), in: 2, after: nil, limit: 10).count == 1)
    }
    // Nor are there words of it in the file: the index says itself that it and its texts agree.
    let database = try Database(path: folder.path + "/search.db")
    #expect(try database.int("SELECT count(*) FROM documents") == 1)
    try database.execute("INSERT INTO words(words) VALUES('integrity-check')")
    await index.close()
  }
}

import Foundation
import Mail
import Pipeline
import SQLite
import Testing

/// A folder that goes away with the test.
final class TemporaryFolder: Sendable {
  let path: String
  init() throws {
    path = NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

func newID() -> MessageID { MessageID(at: SystemClock.shared.now, random: SystemRandom()) }

@Suite struct StoreTests {
  private func address(_ text: String) throws -> EmailAddress { try #require(EmailAddress(text)) }

  private func delivery(
    _ store: MailStore, _ mailbox: Mailbox, _ text: String, id: MessageID = newID(), origin: MessageID? = nil,
    prefix: String = "", folder: FolderRole = .inbox, at received: Int64 = 0
  ) async throws -> Delivery {
    Delivery(
      mailbox: mailbox, folder: folder, id: id, origin: origin, prefix: Bytes(prefix),
      content: try await store.prepare(Bytes(text)), summary: MessageSummary(Bytes(text)),
      received: Timestamp(milliseconds: received))
  }

  private func withStore(
    mode: MailStore.Mode = .threads, largeMemory: Int = 1 << 30,
    _ body: (MailStore, TemporaryFolder) async throws -> Void
  ) async throws {
    let folder = try TemporaryFolder()
    let store = MailStore(folder: folder.path, mode: mode, largeMemory: largeMemory)
    do { try await body(store, folder) } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  @Test(arguments: [MailStore.Mode.threads, .inline])
  func storesAndReads(_ mode: MailStore.Mode) async throws {
    try await withStore(mode: mode) { store, _ in
      let alice = try await store.addUser(address("Alice@example.com")).user.mailbox
      #expect(alice.address.description == "alice@example.com")
      let folders = try await store.folders(of: alice)
      #expect(folders.map(\.role) == FolderRole.allCases)
      #expect(folders.first?.name == "Inbox")
      let id = newID()
      let text = "From: b@c\r\nSubject: Hi\r\nMessage-ID: <m@x>\r\n\r\nHello\r\n"
      let result = try await store.store([
        delivery(store, alice, text, id: id, prefix: "Return-Path: <b@c>\r\n", at: 5)
      ])
      #expect(result == [.stored(try #require(await store.find(messageID: "m@x").first))])
      let message = try #require(await store.message(id, of: alice))
      #expect(message.summary.subject == "Hi")
      #expect(message.uid == 1)
      #expect(message.folder == folders[0].id)
      #expect(message.size == text.utf8.count + 20)
      #expect(message.received == Timestamp(milliseconds: 5))
      #expect(try await store.raw(id, of: alice) == Bytes("Return-Path: <b@c>\r\n" + text))
      let inbox = try await store.folders(of: alice)[0]
      #expect(inbox.total == 1 && inbox.unread == 1 && inbox.uidNext == 2 && inbox.changeCounter == 2)
      #expect(try await store.user(alice.address)?.used == Int64(message.size))
    }
  }

  @Test func aRepeatChangesNothing() async throws {
    try await withStore { store, _ in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let whole = newID()
      let part = whole.part("alice@example.com", of: "store")
      let first = try await delivery(store, alice, "A: b\r\n\r\n", id: part, origin: whole)
      let stored = try await store.store([first, first])
      guard case .stored(let place) = stored[0] else {
        Issue.record("not stored: \(stored)")
        return
      }
      #expect(stored[1] == .repeated(place))
      // The part alone, the whole under its own id, the same again: all of them are this message.
      for (id, origin) in [(part, whole), (part, part), (whole, whole)] {
        let again = try await store.store([delivery(store, alice, "other", id: id, origin: origin)])
        #expect(again == [.repeated(place)])
      }
      #expect(try await store.messages(of: alice, limit: 10).count == 1)
      #expect(try await store.folders(of: alice)[0].total == 1)
    }
  }

  @Test func concurrentBatchesOfTwoConnectionsStoreOnce() async throws {
    try await withStore { store, folder in
      let other = MailStore(folder: folder.path)
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      #expect(try await other.addUser(address("alice@example.com")).wasAdded == false)
      let ids = (0..<40).map { _ in newID() }
      let stored = try await withThrowingTaskGroup(of: Int.self) { group in
        for worker in 0..<8 {
          group.addTask {
            let store = worker % 2 == 0 ? store : other
            var count = 0
            for start in stride(from: 0, to: ids.count, by: 10) {
              var batch: [Delivery] = []
              for id in ids[start..<start + 10] {
                batch.append(try await delivery(store, alice, "A: \(id)\r\n\r\n", id: id))
              }
              for case .stored in try await store.store(batch) { count += 1 }
            }
            return count
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(stored == 40)
      let list = try await other.messages(of: alice, limit: 100)
      #expect(Set(list.map(\.id)) == Set(ids))
      #expect(Set(list.map(\.uid)) == Set(1...40))
      await other.close()
    }
  }

  @Test func twoProcessesMayCreateItAtOnce() async throws {
    for _ in 0..<10 {
      let folder = try TemporaryFolder()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<4 {
          group.addTask {
            let store = MailStore(folder: folder.path)
            _ = try await store.addUser(try #require(EmailAddress("user\(index)@example.com")))
            await store.close()
          }
        }
        try await group.waitForAll()
      }
      let store = MailStore(folder: folder.path)
      #expect(try await store.users().count == 4)
      await store.close()
    }
  }

  @Test func quotaIsKept() async throws {
    try await withStore { store, _ in
      let alice = try await store.addUser(address("alice@example.com"), quota: 100).user.mailbox
      let sixty = String(repeating: "x", count: 60)
      var exempt = try await delivery(store, alice, sixty)
      exempt.isExemptFromQuota = true
      let results = try await store.store([delivery(store, alice, sixty), delivery(store, alice, sixty), exempt])
      guard case .stored = results[0], case .stored = results[2] else {
        Issue.record("not stored: \(results)")
        return
      }
      #expect(results[1] == .overQuota(used: 60, quota: 100))
      #expect(try await store.user(alice.address)?.isFull == true)
      #expect(try await store.store([delivery(store, alice, "")]) == [.overQuota(used: 120, quota: 100)])
      #expect(try await store.setQuota(nil, of: alice.address))
      guard case .stored = try await store.store([delivery(store, alice, sixty)])[0] else {
        Issue.record("not stored without a quota")
        return
      }
    }
  }

  @Test func aBatchThatFailsLeavesNothing() async throws {
    try await withStore { store, folder in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let bob = try await store.addUser(address("bob@example.com")).user.mailbox
      try Database(path: folder.path + "/mail.db").execute("DELETE FROM folders WHERE user=1 AND role='junk'")
      await #expect {
        try await store.store([
          delivery(store, alice, "A: b\r\n\r\n"), delivery(store, alice, "A: c\r\n\r\n", folder: .junk),
        ])
      } throws: { ($0 as? MailStoreError)?.kind == .damaged }
      #expect(try await store.messages(of: alice, limit: 10).isEmpty)
      #expect(try await store.user(alice.address)?.used == 0)
      // It took nothing of others along, whether they shared its commit or not.
      await withTaskGroup(of: Void.self) { group in
        for index in 0..<40 {
          group.addTask {
            let isBad = index % 4 == 0
            let results = try? await store.store([
              delivery(store, isBad ? alice : bob, "A: \(index)\r\n\r\n"),
              delivery(store, isBad ? alice : bob, "B: \(index)\r\n\r\n", folder: .junk),
            ])
            #expect((results == nil) == isBad)
          }
        }
      }
      #expect(try await store.messages(of: alice, limit: 100).isEmpty)
      #expect(try await store.messages(of: bob, limit: 100).count == 60)
    }
  }

  @Test func contentIsKeptOnce() async throws {
    try await withStore { store, folder in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let bob = try await store.addUser(address("bob@example.com")).user.mailbox
      let large = "A: b\r\n\r\n" + String(repeating: "large ", count: 50_000)
      let ids = [newID(), newID(), newID()]
      _ = try await store.store([
        delivery(store, alice, large, id: ids[0], prefix: "X: alice\r\n"),
        delivery(store, bob, large, id: ids[1], prefix: "X: bob\r\n"),
        delivery(store, bob, "A: small\r\n\r\n", id: ids[2]), delivery(store, alice, "A: small\r\n\r\n", id: ids[2]),
      ])
      #expect(try await store.raw(ids[0], of: alice) == Bytes("X: alice\r\n" + large))
      #expect(try await store.raw(ids[1], of: bob) == Bytes("X: bob\r\n" + large))
      #expect(try await store.raw(ids[1], of: alice) == nil)
      #expect(try await store.message(ids[1], of: alice) == nil)
      let database = try Database(path: folder.path + "/mail.db")
      #expect(try database.int("SELECT count(*) FROM contents") == 2)
      #expect(try files(in: folder.path + "/content").count == 1)
    }
  }

  @Test func largeContentTakesNoMoreMemoryThanItMay() async throws {
    try await withStore(largeMemory: 2_200_000) { store, _ in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let token = try #require(await store.addToken("test", for: address("alice@example.com")))
      let ids = [newID(), newID(), newID()]
      for (id, size) in zip(ids, [300_000, 300_006, 1_800_000]) {
        let text = String(repeating: "large ", count: size / 6)
        _ = try await store.store([delivery(store, alice, text, id: id, prefix: "X: y\r\n")])
      }
      // Three times its own size, for what is made of it.
      let first = try await store.raw(ids[0], of: alice)
      var second = try await store.raw(ids[1], of: alice)
      await #expect { try await store.raw(ids[0], of: alice) } throws: { ($0 as? MailStoreError)?.kind == .busy }
      // What stays in its file takes none.
      guard case .file(_, 1_800_000)? = try await store.raw(ids[2], token: token)??.content else {
        Issue.record("not in a file")
        return
      }
      // Nor does a part keep less than the whole.
      let part = try #require(second)[10..<20]
      second = nil
      await #expect { try await store.raw(ids[1], of: alice) } throws: { ($0 as? MailStoreError)?.kind == .busy }
      #expect(part.count == 10 && first?.count == 300_006)
      withExtendedLifetime((first, part)) {}
    }
    // Whoever is alone may read what is larger.
    try await withStore(largeMemory: 1) { store, _ in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let id = newID()
      _ = try await store.store([delivery(store, alice, String(repeating: "large ", count: 50_000), id: id)])
      for _ in 0..<2 { #expect(try await store.raw(id, of: alice)?.count == 300_000) }
    }
  }

  @Test func damagedContentIsNeverServed() async throws {
    try await withStore { store, folder in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      let (small, large) = (newID(), newID())
      _ = try await store.store([
        delivery(store, alice, "A: small\r\n\r\n", id: small),
        delivery(store, alice, String(repeating: "large ", count: 50_000), id: large),
      ])
      let database = try Database(path: folder.path + "/mail.db")
      try database.execute("UPDATE contents SET bytes=x'00' WHERE bytes IS NOT NULL")
      await #expect { try await store.raw(small, of: alice) } throws: { ($0 as? MailStoreError)?.kind == .damaged }

      let file = try #require(try files(in: folder.path + "/content").first)
      var bytes = [UInt8](try Data(contentsOf: URL(filePath: file)))
      bytes[10] ^= 1
      try Data(bytes).write(to: URL(filePath: file))
      await #expect { try await store.raw(large, of: alice) } throws: { ($0 as? MailStoreError)?.kind == .damaged }
      try FileManager.default.removeItem(atPath: file)
      await #expect { try await store.raw(large, of: alice) } throws: { ($0 as? MailStoreError)?.kind == .damaged }
      // Putting it again mends it.
      _ = try await store.prepare(Bytes(String(repeating: "large ", count: 50_000)))
      #expect(try await store.raw(large, of: alice)?.count == 300_000)
    }
  }

  @Test func aNewerVersionIsRefused() async throws {
    let folder = try TemporaryFolder()
    try Database(path: folder.path + "/mail.db").setUserVersion(99)
    let store = MailStore(folder: folder.path)
    await #expect { try await store.probe() } throws: {
      let error = $0 as? MailStoreError
      return error?.kind == .newerVersion && error?.description.contains("version 99") == true
    }
    await store.close()
  }

  @Test func whatIsNoDatabaseIsRefused() async throws {
    let folder = try TemporaryFolder()
    try Data(repeating: 7, count: 10_000).write(to: URL(filePath: folder.path + "/mail.db"))
    let store = MailStore(folder: folder.path)
    await #expect { try await store.probe() } throws: { ($0 as? MailStoreError)?.kind == .damaged }
    await store.close()
    let nowhere = MailStore(folder: folder.path + "/no/such/folder")
    await #expect { try await nowhere.probe() } throws: { ($0 as? MailStoreError)?.kind == .unavailable }
    await nowhere.close()
    await #expect { try await nowhere.probe() } throws: { ($0 as? MailStoreError)?.kind == .closed }
  }

  @Test func listsNewestFirstInPages() async throws {
    try await withStore { store, _ in
      let alice = try await store.addUser(address("alice@example.com")).user.mailbox
      var ids: [MessageID] = []
      for index in 0..<25 {
        let id = newID()
        ids.append(id)
        // Three share each time: the order among them is the order of storage.
        let folder: FolderRole = index % 5 == 0 ? .junk : .inbox
        _ = try await store.store([
          delivery(store, alice, "N: \(index)\r\n\r\n", id: id, folder: folder, at: Int64(index / 3))
        ])
      }
      var seen: [MessageID] = []
      var cursor: MessageCursor?
      while true {
        let page = try await store.messages(of: alice, after: cursor, limit: 4)
        guard let last = page.last else { break }
        seen += page.map(\.id)
        let next: MessageCursor = try #require(MessageCursor(last.cursor.description))
        cursor = next
      }
      #expect(seen == ids.reversed())
      let junk = try #require(await store.folders(of: alice).first { $0.role == .junk })
      #expect(try await store.messages(of: alice, folder: junk.id, limit: 100).count == 5)
      let bob = try await store.addUser(address("bob@example.com")).user.mailbox
      #expect(try await store.messages(of: bob, folder: junk.id, limit: 100).isEmpty)
    }
  }

  @Test func passwordsAndTokens() async throws {
    try await withStore { store, folder in
      let alice = try address("alice@example.com")
      let mailbox = try await store.addUser(alice, password: "correct horse").user.mailbox
      #expect(try await store.logIn(try address("ALICE@example.com"), password: "correct horse") == mailbox)
      #expect(try await store.logIn(alice, password: "wrong") == nil)
      #expect(try await store.logIn(try address("bob@example.com"), password: "correct horse") == nil)
      #expect(try await store.setPassword(nil, of: alice))
      #expect(try await store.logIn(alice, password: "correct horse") == nil)
      let token = try #require(await store.addToken("laptop", for: alice))
      #expect(token.count == 64)
      #expect(try await store.mailbox(token: token) == mailbox)
      #expect(try await store.mailbox(token: String(token.reversed())) == nil)
      #expect(try await store.mailbox(token: "") == nil)
      #expect(try await store.addToken("x", for: address("bob@example.com")) == nil)
      let file = try Data(contentsOf: URL(filePath: folder.path + "/mail.db-wal"))
      #expect(file.range(of: Data(token.utf8)) == nil)
    }
  }

  @Test func administrationAddsUsers() async throws {
    try await withStore { store, _ in
      let administration = MailAdministration(store: store, domains: ["Example.com"])
      let added = try await administration.addUser("Alice@EXAMPLE.com", token: "cli")
      #expect(added.address == "alice@example.com" && added.wasAdded && added.token?.count == 64)
      let again = try await administration.addUser("alice@example.com")
      #expect(!again.wasAdded && again.token == nil)
      for (text, words) in [("alice", "not an address"), ("a@other.com", "example.com"), ("a@example.com", "password")]
      {
        await #expect { try await administration.addUser(text, password: "") } throws: {
          let error = $0 as? MailStoreError
          return error?.kind == .invalid && error?.description.contains(words) == true
        }
      }
    }
  }

  @Test func directoryResolves() async throws {
    try await withStore { store, folder in
      let directory = MailDirectory(store: store, domains: ["example.com", "Example.NET"])
      let postmaster = try address("Postmaster@example.net")
      #expect(try await directory.resolve(postmaster) == .unknownUser)
      let alice = try await store.addUser(address("alice@example.com"), quota: 0).user.mailbox
      #expect(try await directory.resolve(address("ALICE@example.com")) == .overQuota(alice))
      #expect(try await directory.resolve(address("alice@example.net")) == .unknownUser)
      #expect(try await directory.resolve(address("alice@example.org")) == .notOurs)
      #expect(try await directory.resolve(postmaster) == .mailbox(alice))
      // Another process adds users: they count at once.
      let other = MailStore(folder: folder.path)
      let bob = try await other.addUser(address("bob@example.com")).user.mailbox
      #expect(try await directory.resolve([address("bob@example.com"), address("x@y")]) == [.mailbox(bob), .notOurs])
      let configured = MailDirectory(store: store, domains: ["example.net"], postmaster: bob.address)
      #expect(try await configured.resolve(postmaster) == .mailbox(bob))
      let own = try await other.addUser(postmaster).user.mailbox
      #expect(try await directory.resolve(postmaster) == .mailbox(own))
      await other.close()
    }
  }

  @Test func everyCallEndsWhenItIsClosed() async throws {
    let folder = try TemporaryFolder()
    let store = MailStore(folder: folder.path)
    let alice = try await store.addUser(address("alice@example.com")).user.mailbox
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<50 {
        group.addTask {
          do { _ = try await store.store([delivery(store, alice, "A: b\r\n\r\n")]) } catch {
            #expect((error as? MailStoreError)?.kind == .closed)
          }
        }
      }
      group.addTask { await store.close() }
      group.addTask { await store.close() }
    }
  }

  private func files(in folder: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: folder).map { folder + "/" + $0 }.filter {
      var isFolder: ObjCBool = false
      return FileManager.default.fileExists(atPath: $0, isDirectory: &isFolder) && !isFolder.boolValue
    }
  }
}

import Mail
import Pipeline
import SQLite
import Testing

/// Which messages are one conversation, and databases from before there were any.
@Suite struct ThreadTests {
  private func withStore(_ body: (MailStore, Mailbox) async throws -> Void) async throws {
    let folder = try TemporaryFolder()
    let store = MailStore(folder: folder.path, mode: .inline)
    let alice = try await store.addUser(try #require(EmailAddress("alice@example.com"))).user.mailbox
    try await body(store, alice)
    await store.close()
  }

  /// Stores a message called `name` that answers others; its id.
  @discardableResult
  private func add(
    _ name: String?, answering: String = "", references: String = "", to mailbox: Mailbox, _ store: MailStore
  ) async throws -> MessageID {
    var text = "Subject: x\r\n"
    if let name { text += "Message-ID: <\(name)@x>\r\n" }
    if !answering.isEmpty { text += "In-Reply-To: \(answering)\r\n" }
    if !references.isEmpty { text += "References: \(references)\r\n" }
    let bytes = Bytes(text + "\r\n")
    let id = newID()
    _ = try await store.store([
      Delivery(
        mailbox: mailbox, id: id, content: try await store.prepare(bytes), summary: MessageSummary(bytes),
        received: SystemClock.shared.now)
    ])
    return id
  }

  private func thread(_ id: MessageID, _ mailbox: Mailbox, _ store: MailStore) async throws -> Int64 {
    try #require(await store.message(id, of: mailbox)).thread
  }

  @Test func answersAreWithWhatTheyAnswer() async throws {
    try await withStore { store, alice in
      let first = try await add("1", to: alice, store)
      let second = try await add("2", answering: "<1@x>", to: alice, store)
      let third = try await add("3", references: "<1@x>\r\n <2@x>", to: alice, store)
      let fourth = try await add("4", answering: "Your message \"Hi\" <3@x>", to: alice, store)
      let other = try await add("5", to: alice, store)
      let nameless = try await [add(nil, to: alice, store), add(nil, to: alice, store)]
      let threads = try await [first, second, third, fourth].asyncMap { try await thread($0, alice, store) }
      #expect(Set(threads).count == 1)
      let others = try await ([other] + nameless).asyncMap { try await thread($0, alice, store) }
      #expect(Set(others + threads).count == 4)
      let list = try await store.messages(of: alice, thread: threads[0], limit: 10)
      #expect(list.map(\.id) == [fourth, third, second, first])
      let inbox = try #require(await store.folders(of: alice).first)
      #expect(try await store.messages(of: alice, folder: inbox.id, thread: threads[0], limit: 2).count == 2)
      #expect(try await store.messages(of: alice, folder: inbox.id + 1, thread: threads[0], limit: 2).isEmpty)
    }
  }

  @Test func theOrderOfArrivalMakesNoDifference() async throws {
    try await withStore { store, alice in
      // Answers to a question that comes last, or never.
      let answer = try await add("2", answering: "<1@x>", to: alice, store)
      let another = try await add("3", answering: "<1@x>", to: alice, store)
      let question = try await add("1", to: alice, store)
      #expect(try await thread(answer, alice, store) == thread(another, alice, store))
      #expect(try await thread(answer, alice, store) == thread(question, alice, store))
    }
  }

  @Test func twoConversationsBecomeOne() async throws {
    try await withStore { store, alice in
      let large = try await [add("1", to: alice, store), add("2", answering: "<1@x>", to: alice, store)]
      let small = try await add("9", answering: "<8@x>", to: alice, store)
      let kept = try await thread(large[0], alice, store)
      #expect(try await thread(small, alice, store) != kept)
      let before = try #require(await store.folders(of: alice).first).changeCounter
      // What was missing between them.
      let link = try await add("8", answering: "<2@x>", to: alice, store)
      for id in large + [small, link] { #expect(try await thread(id, alice, store) == kept) }
      // The message that changed its conversation is a change of the folder too.
      #expect(try #require(await store.folders(of: alice).first).changeCounter == before + 2)
      // Names that led to the smaller one lead on.
      let late = try await add("10", answering: "<9@x>", to: alice, store)
      #expect(try await thread(late, alice, store) == kept)
    }
  }

  @Test func aMailboxHasItsOwn() async throws {
    try await withStore { store, alice in
      let bob = try await store.addUser(try #require(EmailAddress("bob@example.com"))).user.mailbox
      for _ in 0..<3 { try await add(nil, to: bob, store) }
      try await add("1", to: alice, store)
      let answer = try await add("2", answering: "<1@x>", to: bob, store)
      #expect(try await store.messages(of: bob, thread: thread(answer, bob, store), limit: 10).count == 1)
      #expect(try await store.messages(of: bob, limit: 10).count == 4)
    }
  }

  /// Forged names make long chains of conversations that go into each other: each step stays short.
  @Test func chainsOfConversationsAreBounded() async throws {
    try await withStore { store, alice in
      let count = 300
      var ids: [MessageID] = []
      for number in 0..<count { ids.append(try await add("\(number)", to: alice, store)) }
      for number in (1..<count).reversed() {
        ids.append(try await add(nil, references: "<\(number)@x> <\(number - 1)@x>", to: alice, store))
      }
      let first = try await thread(ids[0], alice, store)
      for id in ids { #expect(try await thread(id, alice, store) == first) }
      #expect(try await add("z", references: "<\(count - 1)@x>", to: alice, store) != ids[0])
    }
  }

  @Test func referencesAreReadWithinLimits() {
    let chain = (0..<100).map { "<\($0)@x>" }.joined(separator: " ")
    let header = HeaderSection(Bytes("In-Reply-To: <99@x> <\r\n a@x >\r\nReferences: \(chain) <> <unclosed\r\n\r\n"))
    let found = header.references
    #expect(found.count == 17)
    #expect(Array(found.prefix(3)) == ["99@x", "a@x", "0@x"] && found.last == "98@x")
    #expect(HeaderSection(Bytes("Subject: x\r\n\r\n")).references.isEmpty)
  }

  // MARK: Version 1

  /// The tables as version 1 had them.
  private static let versionOne = """
    CREATE TABLE users(
      id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE, password TEXT, quota INTEGER,
      used INTEGER NOT NULL DEFAULT 0, modseq INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL) STRICT;
    CREATE TABLE tokens(
      digest BLOB PRIMARY KEY, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, name TEXT NOT NULL,
      created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE folders(
      id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      name TEXT NOT NULL, role TEXT, uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL DEFAULT 1,
      modseq INTEGER NOT NULL DEFAULT 1, total INTEGER NOT NULL DEFAULT 0, unread INTEGER NOT NULL DEFAULT 0,
      UNIQUE(user, name)) STRICT;
    CREATE UNIQUE INDEX folders_role ON folders(user, role) WHERE role IS NOT NULL;
    CREATE TABLE contents(
      id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, bytes BLOB) STRICT;
    CREATE TABLE messages(
      row INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      folder INTEGER NOT NULL REFERENCES folders, uid INTEGER NOT NULL, id TEXT NOT NULL, origin TEXT NOT NULL,
      flags INTEGER NOT NULL, received INTEGER NOT NULL, modseq INTEGER NOT NULL, size INTEGER NOT NULL,
      message_id TEXT, sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL, date INTEGER,
      preview TEXT NOT NULL, attachment INTEGER NOT NULL, content INTEGER NOT NULL REFERENCES contents,
      prefix BLOB NOT NULL, UNIQUE(user, id), UNIQUE(user, origin), UNIQUE(folder, uid)) STRICT;
    CREATE INDEX messages_by_user ON messages(user, received, row);
    CREATE INDEX messages_by_folder ON messages(folder, received, row);
    CREATE INDEX messages_by_message_id ON messages(message_id) WHERE message_id IS NOT NULL;
    CREATE INDEX messages_by_content ON messages(content);
    PRAGMA user_version=1;
    """

  @Test func aDatabaseOfVersionOneIsBroughtUp() async throws {
    let folder = try TemporaryFolder()
    let ids = (0..<250).map { _ in newID() }
    do {
      let database = try Database(path: folder.path + "/mail.db")
      try database.execute(Self.versionOne)
      try database.execute(
        """
        INSERT INTO users(address, modseq, created, used) VALUES('alice@example.com', 251, 0, 250);
        INSERT INTO folders(user, name, role, uidvalidity, uidnext, total) VALUES(1, 'Inbox', 'inbox', 1, 251, 250);
        """)
      for (number, id) in ids.enumerated() {
        // Each tenth answers the one before; of one that is large, the content is elsewhere.
        let text =
          "Message-ID: <\(number)@x>\r\n" + (number % 10 == 9 ? "References: <\(number - 1)@x>\r\n" : "") + "\r\n"
        let bytes = number == 249 ? "NULL" : "CAST('\(text)' AS BLOB)"
        try database.execute(
          """
          INSERT INTO contents(digest, size, bytes) VALUES(CAST('\(number)' AS BLOB), \(text.utf8.count), \(bytes));
          INSERT INTO messages(user, folder, uid, id, origin, flags, received, modseq, size, message_id, sender,
            recipients, subject, preview, attachment, content, prefix)
          VALUES(1, 1, \(number + 1), '\(id)', '\(id)', 0, \(number), 1, 1, '\(number)@x', '', '', '', '', 0,
            \(number + 1), x'')
          """)
      }
    }
    let store = MailStore(folder: folder.path, mode: .inline)
    let address = try #require(EmailAddress("alice@example.com"))
    let alice = try #require(await store.user(address)).mailbox
    let messages = try await store.messages(of: alice, limit: 1000)
    #expect(messages.map(\.id) == ids.reversed())
    let threads = Array(messages.map(\.thread).reversed())
    #expect(threads[8] == threads[9] && threads[238] == threads[239] && threads[248] != threads[249])
    #expect(Set(threads).count == 250 - 24)
    // What comes now finds them, and takes no number that is in use.
    let answer = try await add("a", answering: "<249@x>", to: alice, store)
    #expect(try await thread(answer, alice, store) == threads[249])
    let other = try await add("b", to: alice, store)
    #expect(try await !threads.contains(thread(other, alice, store)))
    await store.close()
    let again = MailStore(folder: folder.path, mode: .inline)
    #expect(try await again.messages(of: alice, limit: 1000).count == 252)
    await again.close()
  }
}

extension Array {
  fileprivate func asyncMap<T>(_ body: (Element) async throws -> T) async throws -> [T] {
    var results: [T] = []
    for element in self { results.append(try await body(element)) }
    return results
  }
}

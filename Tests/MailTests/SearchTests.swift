import Pipeline
import Testing

@testable import Mail

@Suite struct SearchTests {
  private static func day(_ text: String) -> Timestamp { MailDate("\(text) 12:00:00 +0000".utf8)?.time ?? .distantPast }

  private func withIndex(_ body: (any SearchIndex) async throws -> Void) async throws {
    let folder = try TemporaryFolder()
    let index = FTSSearchIndex(folder: folder.path, mode: .inline)
    try await body(index)
    await index.close()
  }

  private func document(
    _ number: Int, mailbox: Int64 = 1, day: String = "1 Mar 2026", subject: String = "", from: String = "",
    to: String = "", text: String = "", files: [String] = []
  ) -> SearchDocument {
    SearchDocument(
      mailbox: mailbox, id: Self.id(number), received: Self.day(day), subject: subject, from: from, to: to, text: text,
      attachments: files, hasAttachment: !files.isEmpty)
  }

  private static func id(_ number: Int) -> MessageID {
    MessageID(String(format: number)) ?? MessageID(at: .distantPast, random: SystemRandom())
  }

  private func found(_ index: any SearchIndex, _ query: String, mailbox: Int64 = 1) async throws -> [Int] {
    try await index.search(try SearchQuery(query), in: mailbox, after: nil, limit: 100).map { number($0.id) }
  }

  private func number(_ id: MessageID) -> Int { Int(id.description.suffix(12)) ?? -1 }

  @Test func findsByEverythingThatPeopleAskFor() async throws {
    try await withIndex { index in
      try await index.add([
        document(
          1, day: "1 Mar 2026", subject: "Budget for the third quarter", from: "Alice Doe <alice@example.com>",
          to: "bob@example.net", text: "The café's invoices, Müller says, are attached.", files: ["Invoice 2026.pdf"]),
        document(
          2, day: "2 Mar 2026", subject: "Re: Budget", from: "bob@example.net", text: "third time, a new quarter"),
        document(3, day: "3 Mar 2026", subject: "lunch", from: "carol@example.org", text: "at the CAFE? 12:30"),
        document(4, day: "4 Mar 2026", subject: "회의 일정", from: "김철수 <kim@example.kr>", text: "내일 회의실에서 한국어로 만나요"),
        document(5, day: "5 Mar 2026", subject: "会議の予定", from: "x@example.jp", text: "東京都の会議室で、カタカナ"),
      ])
      let expected: [(String, [Int])] = [
        ("budget", [2, 1]), ("BUDGET", [2, 1]), ("\"third quarter\"", [1]), ("third quarter", [2, 1]), ("invoi*", [1]),
        ("invoi", []), ("cafe", [3, 1]), ("café", [3, 1]), ("muller", [1]), ("from:alice", [1]),
        ("from:alice@example.com", [1]), ("from:\"Alice Doe\"", [1]), ("to:bob", [1]), ("from:bob", [2]),
        ("bob", [2, 1]),
        ("subject:budget -subject:re", [1]), ("has:attachment", [1]), ("-has:attachment budget", [2]),
        ("filename:invoice", [1]), ("filename:pdf", [1]), ("after:2026-03-03", [5, 4, 3]), ("before:2026-03-02", [1]),
        ("after:2026/03/02 before:2026-03-04", [3, 2]), ("12:30", [3]), ("회의", [4]), ("한국", [4]), ("국어", [4]),
        ("회의실", [4]), ("어로 만나", [4]), ("한어", []), ("김", [4]), ("東京", [5]), ("京都", [5]), ("会議", [5]), ("カタ", [5]),
        ("", [5, 4, 3, 2, 1]), ("-budget", [5, 4, 3]), ("AND OR NOT", []), ("\"", [5, 4, 3, 2, 1]), ("a\"b", []),
        ("subject:(budget", [2, 1]), ("{body}:x", []), ("mailbox1", []), ("hasattachment", []),
      ]
      for (query, ids) in expected { #expect(try await found(index, query) == ids, "\(query)") }
    }
  }

  /// Characters of four bytes, Hangul in pieces, and what stands next to runs of them.
  @Test func pairsAreFoundWhateverIsAroundThem() async throws {
    try await withIndex { index in
      try await index.add([
        document(1, text: "\u{20000}\u{20001}\u{20002}"), document(2, text: "“東京” 🙂都x"),
        document(3, text: "\u{1112}\u{1161}\u{11AB}\u{1100}\u{116E}\u{11A8}"), document(4, text: "abc京"),
        document(5, text: "\u{1200}\u{1201} \u{3001}"),
      ])
      let expected: [(String, [Int])] = [
        ("\u{20000}\u{20001}", [1]), ("\u{20001}\u{20002}", [1]), ("\u{20000}\u{20002}", []), ("東京", [2]), ("京都", []),
        ("x", [2]), ("한국", [3]), ("abc", [4]), ("京", [4]), ("\u{1200}\u{1201}", [5]),
      ]
      for (query, ids) in expected { #expect(try await found(index, query) == ids, "\(query)") }
    }
  }

  @Test func aMailboxSeesItsOwnOnly() async throws {
    try await withIndex { index in
      try await index.add([document(1, mailbox: 1, text: "secret"), document(2, mailbox: 11, text: "secret")])
      #expect(try await found(index, "secret") == [1])
      #expect(try await found(index, "secret", mailbox: 11) == [2])
      #expect(try await found(index, "secret", mailbox: 2) == [])
    }
  }

  @Test func aRepeatIsFoundOnceAndWhatIsRemovedNoMore() async throws {
    try await withIndex { index in
      for _ in 0..<3 { try await index.add([document(1, text: "hello 안녕하세요"), document(2, text: "hello")]) }
      #expect(try await found(index, "hello") == [2, 1])
      try await index.add([document(1, text: "changed")])
      #expect(try await found(index, "hello") == [2])
      #expect(try await found(index, "안녕") == [])
      #expect(try await found(index, "changed") == [1])
      try await index.remove([Self.id(2), Self.id(9)], of: 1)
      try await index.remove([Self.id(1)], of: 7)
      #expect(try await found(index, "hello") == [])
      #expect(try await found(index, "changed") == [1])
    }
  }

  @Test func pagesGoOnWhereTheLastOneEnded() async throws {
    try await withIndex { index in
      // All received at the same time.
      try await index.add((1...25).map { document($0, text: "page") })
      var seen: [Int] = []
      var cursor: Int64?
      repeat {
        let hits = try await index.search(try SearchQuery("page"), in: 1, after: cursor, limit: 10)
        seen += hits.map { number($0.id) }
        cursor = hits.last?.cursor
        if seen.count == 10 { try await index.add([document(26, text: "page")]) }
      } while cursor != nil
      #expect(seen == (1...25).reversed())
    }
  }

  @Test func snippetsMarkWhatMatchesAndEscapeTheRest() throws {
    func snippet(_ text: String, _ query: String) throws -> String? { Snippet.make(text, try SearchQuery(query)) }
    #expect(try snippet("Hello <b>World</b> & all", "world") == "Hello &lt;b&gt;<mark>World</mark>&lt;/b&gt; &amp; all")
    #expect(try snippet("swords and words", "word*") == "swords and <mark>word</mark>s")
    #expect(try snippet("nothing", "from:nothing") == nil)
    #expect(try snippet("내일 회의실에서", "회의") == "내일 <mark>회의</mark>실에서")
    let long = String(repeating: "filler ", count: 100) + "needle" + String(repeating: " filler", count: 100)
    let found = try #require(try snippet(long, "needle"))
    #expect(found.hasPrefix("…") && found.hasSuffix("…") && found.contains("<mark>needle</mark>") && found.count < 250)
  }

  @Test(
    arguments: [
      ("before:yesterday", "before: takes a day"), ("after:2026-02-30", "after: takes a day"),
      ("has:cat", "has: takes attachment"), (String(repeating: "x ", count: 40), "at most 32 terms"),
      (String(repeating: "x", count: 2000), "at most 1024 bytes"),
    ])
  func queriesThatAreNone(_ query: String, _ message: String) {
    let mistake = #expect(throws: SearchQuery.Mistake.self) { try SearchQuery(query) }
    #expect(mistake?.message.contains(message) == true)
  }
}

extension String {
  /// An id that ends in this number.
  fileprivate init(format number: Int) {
    let digits = String(number)
    self = "0190b3a1-7a4f-7000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
  }
}

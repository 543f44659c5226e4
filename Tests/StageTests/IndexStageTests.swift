import IndexStage
import Mail
import NotifyStage
import Pipeline
import StoreStage
import Testing

/// What comes behind `store`: found by search once, told once.
@Suite struct IndexStageTests {
  private func stored(_ harness: Harness, _ messages: [Message]) async throws -> [Message] {
    let values = OptionValues(schema: StoreStage.Options.schema)
    let stage = StoreStage(StoreStage.Options(values), store: harness.store, directory: harness.directory)
    return try await stage.process(messages, harness.context("store")).compactMap(\.forwarded)
  }

  @Test func whatIsStoredIsFoundOnceHoweverOftenItComes() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let index = FTSSearchIndex(folder: harness.folder, mode: .inline)
    let stage = IndexStage(index: index, store: harness.store)
    let messages = try await stored(harness, [harness.message(), harness.message(to: ["bob@example.com"])])
    for _ in 0..<3 {
      let outcomes = try await stage.process(messages, harness.context("index"))
      #expect(outcomes.compactMap(\.forwarded).map(\.id) == messages.map(\.id))
    }
    let found = try await index.search(
      try SearchQuery("hello from:sender.example"), in: alice.id, after: nil, limit: 10)
    #expect(found.map(\.id) == [messages[0].id])
    await index.close()
  }

  @Test func whatWasStoredNowhereOrIsDamagedHoldsUpNobody() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let index = FTSSearchIndex(folder: harness.folder, mode: .inline)
    let stage = IndexStage(index: index, store: harness.store)
    var broken = try await stored(harness, [harness.message()])[0]
    broken.content = BrokenContentStore(error: .permanent("content.missing", "gone")).content(of: 10)
    let good = try await stored(harness, [harness.message()])[0]
    let outcomes = try await stage.process([harness.message(), broken, good], harness.context("index"))
    #expect(outcomes.map(\.reason) == [nil, "content.missing", nil])
    #expect(
      try await index.search(try SearchQuery("hello"), in: alice.id, after: nil, limit: 10).map(\.id) == [good.id])
    await index.close()
  }

  @Test func newMailIsAnnounced() async throws {
    let harness = try await Harness()
    let message = try await stored(harness, [harness.message()])[0]
    let outcome = try await NotifyStage().process(message, harness.context("notify"))
    #expect(outcome.forwarded?.id == message.id)
    #expect(try await NotifyStage().process(harness.message(), harness.context("notify")).forwarded != nil)
  }
}

import Mail
import Pipeline
import StoreStage
import Testing

@Suite struct StoreStageTests {
  private func stage(_ harness: Harness, _ options: [String: OptionValue] = [:]) -> StoreStage {
    let values = OptionValues(options, schema: StoreStage.Options.schema)
    return StoreStage(StoreStage.Options(values), store: harness.store, directory: harness.directory)
  }

  private func process(
    _ harness: Harness, _ message: Message, _ options: [String: OptionValue] = [:]
  ) async throws -> Outcome {
    try #require(await stage(harness, options).process([message], harness.context("store")).first)
  }

  @Test func storesForOne() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let message = harness.message()
    let outcome = try await process(harness, message)
    let copy = try #require(outcome.forwarded.flatMap { StoredCopy($0) })
    #expect(copy.mailbox == alice.address)
    #expect(copy.id == message.id)
    let raw = try #require(await harness.store.raw(message.id, of: alice))
    #expect(
      raw.text == "Return-Path: <s@sender.example>\r\n"
        + "Received: from mx.sender.example ([192.0.2.1])\r\n\tby mail.example.com with ESMTP id \(message.id)\r\n"
        + "\tfor <alice@example.com>;\r\n\t\(MailDate(message.acceptedAt))\r\n" + Harness.text)
    let listed = try #require(await harness.store.message(copy.id, of: alice))
    #expect(listed.summary.subject == "Hi")
    #expect(listed.uid == copy.uid && listed.folder == copy.folder)
  }

  @Test func aRepeatIsRecognised() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let message = harness.message()
    let batch = [message, message]
    let context = harness.context("store")
    let first = try await stage(harness).process(batch, context)
    let second = try await stage(harness).process(batch, context)
    #expect(context.metrics.snapshot.map(\.value) == [3, 1])
    let copies = (first + second).compactMap { $0.forwarded.flatMap { StoredCopy($0) } }
    #expect(copies.count == 4)
    #expect(Set(copies).count == 1)
    #expect(try await harness.store.messages(of: alice, limit: 10).count == 1)
  }

  @Test func splitsForSeveral() async throws {
    let harness = try await Harness()
    let message = harness.message(to: ["alice@example.com", "postmaster@example.com", "Bob@example.com"])
    let split = try #require(try await process(harness, message).parts)
    #expect(split.continuation == .behind)
    // The postmaster is alice, who was added first: one copy for both.
    #expect(split.parts.map(\.name) == ["alice@example.com", "bob@example.com"])
    #expect(split.parts.map(\.key) == split.parts.map { Bytes($0.name) })
    #expect(split.parts[0].attribute("rcpt-to") == "alice@example.com\npostmaster@example.com")
    let bob = try await harness.user("bob")
    let id = message.id.part("bob@example.com", of: "store")
    #expect(split.parts[1].attribute("stored-id") == id.description)
    let raw = try #require(await harness.store.raw(id, of: bob)).text
    #expect(raw.contains("for <Bob@example.com>"))
    #expect(!raw.contains("for <alice"))
    // What the runtime makes of the part is recognised as this copy.
    let part = harness.message(to: ["bob@example.com"], id: id)
    #expect(try await process(harness, part).forwarded.flatMap { StoredCopy($0) }?.id == id)
    #expect(try await harness.store.messages(of: bob, limit: 10).count == 1)
  }

  @Test func whoCannotTakeItFailsAlone() async throws {
    let harness = try await Harness()
    let full = try await harness.user("full", quota: 10)
    let message = harness.message(to: ["alice@example.com", "full@example.com", "gone@example.com"])
    let split = try #require(try await process(harness, message).parts)
    #expect(split.continuation == .again)
    var reasons: [String?] = []
    for part in split.parts {
      let id = message.id.part(part.name, of: "store")
      let again = harness.message(to: [try #require(part.attribute("rcpt-to"))], id: id)
      reasons.append(try await process(harness, again).reason)
    }
    #expect(reasons == [nil, "quota", "recipient.unknown"])
    #expect(try await harness.store.messages(of: full, limit: 10).isEmpty)
    let alice = try await harness.user("alice")
    #expect(try await harness.store.messages(of: alice, limit: 10).count == 1)
    // With more room the dead letter can be replayed.
    _ = try await harness.store.setQuota(10_000, of: full.address)
    let id = message.id.part("full@example.com", of: "store")
    #expect(try await process(harness, harness.message(to: ["full@example.com"], id: id)).forwarded != nil)
  }

  @Test func aFullMailboxMayBeTriedAgain() async throws {
    let harness = try await Harness()
    try await harness.user("full", quota: 10)
    let outcome = try await process(
      harness, harness.message(to: ["full@example.com"]), ["over-quota": .text("retry")])
    guard case .retry(let reason, nil) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(reason == "quota")
  }

  @Test func filesSpamInJunk() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let folders = try await harness.store.folders(of: alice)
    for (options, role) in [([:], FolderRole.junk), (["junk": .boolean(false)], .inbox)]
      as [([String: OptionValue], FolderRole)]
    {
      var message = harness.message()
      message.annotate(MailAnnotations.spam, "yes")
      message.annotate(MailAnnotations.traceHeaders, "X-Spam: yes\r\n")
      let copy = try await process(harness, message, options).forwarded.flatMap { StoredCopy($0) }
      #expect(copy?.folder == folders.first { $0.role == role }?.id)
      let raw = try await harness.store.raw(message.id, of: alice)?.text
      #expect(raw?.hasPrefix("Return-Path: <s@sender.example>\r\nX-Spam: yes\r\nReceived: from") == true)
    }
  }

  @Test func keepsWhatUsersSend() async throws {
    let harness = try await Harness()
    let alice = try await harness.user("alice")
    let sending: [String: OptionValue] = ["mailbox": .text("sender")]
    let message = harness.message(to: ["x@elsewhere.example", "bob@example.com"], authenticated: "alice@example.com")
    let copy = try #require(try await process(harness, message, sending).forwarded.flatMap { StoredCopy($0) })
    let sent = try #require(await harness.store.folders(of: alice).first { $0.role == .sent })
    #expect(copy.folder == sent.id)
    #expect(sent.total == 1 && sent.unread == 0)
    #expect(try await harness.store.raw(message.id, of: alice)?.text == Harness.text)
    #expect(try await process(harness, harness.message(), sending).reason == "sender.unknown")
    #expect(try await process(harness, harness.message(from: ""), sending).reason == "sender.missing")
  }

  @Test func oneUnreadableMessageStopsNoOther() async throws {
    let harness = try await Harness()
    var broken = harness.message()
    broken.content = BrokenContentStore(error: .permanent("content.missing", "gone")).content(of: 100)
    let outcomes = try await stage(harness).process(
      [harness.message(), broken, harness.message()], harness.context("store"))
    #expect(outcomes.map(\.reason) == [nil, "content.missing", nil])
    #expect(outcomes.compactMap(\.forwarded).count == 2)
  }

  @Test func waitsWhileSomethingIsAway() async throws {
    let harness = try await Harness()
    var remote = harness.message()
    remote.content = BrokenContentStore(error: .dependencyDown("content store", "away")).content(of: 100)
    await #expect { try await process(harness, remote) } throws: {
      ($0 as? StageError)?.kind == .dependencyDown("content store")
    }
    await harness.store.close()
    await #expect { try await process(harness, harness.message()) } throws: {
      ($0 as? StageError)?.kind == .dependencyDown("mail store")
    }
    await #expect { try await stage(harness).probe() } throws: { $0 is StageError }
  }

  @Test func aMessageForNobodyIsRefused() async throws {
    let harness = try await Harness()
    #expect(try await process(harness, harness.message(to: [])).reason == "recipient.missing")
    #expect(try await process(harness, harness.message(to: ["x@example.com"])).reason == "recipient.unknown")
    #expect(try await process(harness, harness.message(to: ["x@elsewhere.example"])).reason == "recipient.unknown")
  }

  @Test func registersAsBatchStage() async throws {
    let harness = try await Harness()
    var registry = StageRegistry()
    StoreStage.register(in: &registry, store: harness.store, directory: harness.directory)
    let entry = try #require(registry["store"])
    let setup = StageSetup(
      name: StageName(flow: "inbound", stage: "store"), dataFolder: harness.folder, clock: harness.clock,
      random: SystemRandom(), contentStore: nil)
    guard case .batch(_, let limit) = try entry.make(OptionValues(schema: entry.options), setup) else {
      Issue.record("not a batch stage")
      return
    }
    #expect(limit == 256)
  }
}

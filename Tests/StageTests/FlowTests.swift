import Mail
import Pipeline
import PipelineTesting
import StoreStage
import Synchronization
import Testing
import ValidateStage

/// The last stage of a test's flow: notes what comes by.
private final class Collector: Stage {
  struct Options: StageOptions {
    static let schema = OptionSchema([])
    init(_ values: OptionValues) {}
  }
  let messages = Mutex<[Message]>([])
  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    messages.withLock { $0.append(message) }
    return .forward(message)
  }
}

/// Both stages under the real runtime.
@Suite struct FlowTests {
  @Test(.timeLimit(.minutes(1))) func mailReachesEveryMailboxOnce() async throws {
    let harness = try await Harness()
    let full = try await harness.user("full", quota: 10)
    let clock = SystemClock.shared
    let broker = MemoryBroker(clock: clock)
    let collector = Collector()
    var registry = StageRegistry()
    ValidateStage.register(in: &registry, directory: harness.directory)
    StoreStage.register(in: &registry, store: harness.store, directory: harness.directory)
    registry.register("collect", "Notes what comes by.", options: Collector.Options.self) { _, _ in .one(collector) }
    let stages = ["validate", "store", "collect"].compactMap { name in
      registry[name].map { Topology.StageSettings(name, options: OptionValues(schema: $0.options)) }
    }
    let topology = Topology(
      name: "mail", window: .zero, flows: [Topology.Flow("inbound", from: ["smtp"], stages: stages)])
    let environment = StageRunner.Environment(
      broker: broker, clock: clock, log: Log(clock: clock) { _ in }, instance: "test")
    let service = try await PipelineService(
      topology, stages: registry, dataFolder: harness.folder, random: SystemRandom(), environment: environment)
    let intake = try #require(
      Intake(
        source: "smtp", topology: topology, broker: broker, clock: clock, random: SystemRandom(), contentStore: nil))
    let letters = DeadLetters(topology, broker: broker, clock: clock)

    func accept(_ recipients: String...) async throws -> MessageID {
      let envelope = Envelope(
        sender: EmailAddress("s@sender.example"),
        recipients: recipients.compactMap { EmailAddress("\($0)@example.com") })
      return try await intake.accept(
        content: Bytes(Harness.text), contentType: "message/rfc822", source: "smtp", attributes: envelope.attributes)
    }
    var ids: [MessageID] = []
    var whole: MessageID?
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await service.run() }
      for _ in 0..<20 { ids.append(try await accept("alice")) }
      whole = try await accept("alice", "bob", "full", "gone")
      _ = try await accept("alice", "bob")
      _ = try await accept("gone")
      while true {
        let dead = try await letters.list()
        if dead.count == 2, collector.messages.withLock({ $0.count }) == 24 { break }
        try await clock.sleep(for: .milliseconds(5))
      }
      service.drain()
      try await group.waitForAll()
    }

    let id = try #require(whole)
    let dead = try await letters.list()
    #expect(Set(dead.map(\.reason)) == ["quota", "recipient.unknown"])
    #expect(dead.first { $0.reason == "quota" }?.id == id.part("full@example.com", of: "store"))
    let collected = collector.messages.withLock { $0 }
    for message in collected {
      let copy = try #require(StoredCopy(message))
      // What goes on has the id under which the mailbox knows it.
      #expect(copy.id == message.id)
      let mailbox = try #require(await harness.directory.resolve(copy.mailbox).mailbox)
      #expect(try await harness.store.message(copy.id, of: mailbox)?.uid == copy.uid)
    }
    #expect(Set(collected.map(\.id)).count == 24)
    let alice = try await harness.user("alice")
    let bob = try await harness.user("bob")
    #expect(try await harness.store.messages(of: alice, limit: 100).count == 22)
    #expect(try await harness.store.messages(of: bob, limit: 100).count == 2)
    #expect(try await harness.store.messages(of: full, limit: 100).isEmpty)
    #expect(Set(ids).isSubset(of: Set(collected.map(\.id))))
  }
}

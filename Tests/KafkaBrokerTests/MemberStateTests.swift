import Pipeline
import Testing

@testable import KafkaBroker

/// What a member may settle and has to give up, without a broker.
@Suite("Kafka member")
struct MemberStateTests {
  private let names = [TopicPartition("t", 0), TopicPartition("t", 1)]

  private func state() -> MemberState {
    var state = MemberState()
    state.assigned(names, nil)
    hear(&state)
    return state
  }

  /// Has the caller told of everything that happened.
  private func hear(_ state: inout MemberState) { while state.takeEvent() != nil {} }

  private func progress(_ name: TopicPartition, generation: Int64) -> [Settlement.Progress] {
    [.init(topicPartition: name, generation: generation, next: 1, settled: [])]
  }

  private func kind(_ body: () throws -> Void) -> BrokerError.Kind? {
    do { try body() } catch { return (error as? BrokerError)?.kind }
    return nil
  }

  @Test("settles only under the generation that it has, and not what it released")
  func admission() throws {
    var state = state()
    _ = try state.admit(progress(names[0], generation: 1))
    #expect(kind { _ = try state.admit(progress(names[0], generation: 2)) } == .fenced)
    #expect(kind { _ = try state.admit(progress(TopicPartition("t", 2), generation: 1)) } == .fenced)
    state.beginRevoking([names[1]], deadline: .max)
    _ = try state.admit(progress(names[1], generation: 1))
    try state.release([names[1]])
    #expect(kind { _ = try state.admit(progress(names[1], generation: 1)) } == .fenced)
    // One that has to go takes the whole settlement with it.
    let both = progress(names[0], generation: 1) + progress(names[1], generation: 1)
    #expect(kind { _ = try state.admit(both) } == .fenced)
  }

  @Test("gives nothing up while a settlement of it is under way, not even after the deadline")
  func settlementUnderWay() throws {
    var state = state()
    let admission = try state.admit(progress(names[1], generation: 1))
    state.beginRevoking([names[1]], deadline: 100)
    #expect(state.takeRevocation(at: 99) == nil)
    #expect(state.takeRevocation(at: 100) == nil)
    #expect(kind { _ = try state.admit(progress(names[1], generation: 1)) } == .fenced, "its time is over")
    state.settled(admission)
    #expect(state.takeRevocation(at: 101)?.partitions == [names[1]])
    #expect(state.takeRevocation(at: 102) == nil, "answered once")
    #expect(state.readable().map(\.name) == [names[0]])
  }

  @Test("a release answers the revocation only when all of it is released")
  func release() throws {
    var state = state()
    state.beginRevoking(names, deadline: .max)
    try state.release([names[0]])
    #expect(state.takeRevocation(at: 0) == nil)
    try state.release([names[1]])
    #expect(state.takeRevocation(at: 0)?.partitions == names)
  }

  @Test("what is paused or has to go is not read, and each partition comes first in turn")
  func reading() throws {
    var state = state()
    #expect(state.readable().map(\.name) != state.readable().map(\.name))
    try state.setPaused(true, [names[0]])
    #expect(state.readable().map(\.name) == [names[1]])
    state.beginRevoking([names[1]], deadline: .max)
    #expect(state.readable().isEmpty)
  }

  @Test("a pause that was meant for the assignment before does not hold the next up")
  func latePause() throws {
    var state = state()
    state.lose(names)
    state.assigned(names, nil)
    try state.setPaused(true, [names[0]])
    #expect(state.readable().count == 2)
    hear(&state)
    try state.setPaused(true, [names[0]])
    #expect(state.readable().map(\.name) == [names[1]])
  }

  @Test("regained, a partition has a later generation")
  func regained() throws {
    var state = state()
    state.lose([names[1]])
    state.assigned([names[1]], nil)
    #expect(kind { _ = try state.admit(progress(names[1], generation: 1)) } == .fenced)
    _ = try state.admit(progress(names[1], generation: 2))
    _ = try state.admit(progress(names[0], generation: 1))
  }

  @Test("a successor ends everything")
  func replaced() throws {
    var state = state()
    state.fail(BrokerError(.fenced, "another one has the name"))
    #expect(kind { _ = try state.admit([]) } == .fenced)
    #expect(state.readable().isEmpty)
  }
}

/// What needs no broker to be there.
@Suite("Kafka connection", .timeLimit(.minutes(1)))
struct ConnectionTests {
  private func open(_ options: KafkaBroker.Options) async -> BrokerError? {
    do { await (try KafkaBroker.open(options)).close() } catch { return error }
    return nil
  }

  @Test("a property that librdkafka does not know is named")
  func property() async throws {
    var options = KafkaBroker.Options(servers: "127.0.0.1:1")
    options.properties = ["no.such.property": "1"]
    let error = try #require(await open(options))
    #expect(error.description.contains("no.such.property"))
  }

  @Test("where nobody answers, opening fails in time")
  func nobody() async throws {
    var options = KafkaBroker.Options(servers: "127.0.0.1:1")
    options.patience = .milliseconds(300)
    #expect(try #require(await open(options)).kind == .unavailable)
  }
}

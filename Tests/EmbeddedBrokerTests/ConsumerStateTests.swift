import Pipeline
import Testing

@testable import EmbeddedBroker

/// What changes while a fetch is under way: the value is told in between, as no test of the whole can be sure to.
@Suite("Consumer state", .timeLimit(.minutes(1)))
struct ConsumerStateTests {
  private let now = Timestamp(milliseconds: 1_700_000_000_000)
  private let names = [TopicPartition("t", 0), TopicPartition("t", 1)]

  /// A member with two partitions, whose assignment was told.
  private func state(awaited: [Assignment.Awaited] = []) -> ConsumerState {
    let layout = BrokerStore.Layout(slots: names.enumerated().map { [(id: Int64($0.offset + 1), name: $0.element)] })
    var state = ConsumerState(member: .init(group: 1, id: 7), layout: layout)
    state.beginSynchronizing()
    state.apply(assignment(generation: 1, awaited: awaited), at: now)
    guard case .event(.assigned(names)) = state.plan(at: now, idle: .seconds(3)) else {
      Issue.record("no assignment")
      return state
    }
    return state
  }

  private func assignment(
    generation: Int64, isRevoked: Bool = false, awaited: [Assignment.Awaited] = []
  ) -> Assignment {
    Assignment(
      epoch: generation, standing: .member,
      owned: (0..<2).map { .init(number: $0, generation: generation, isRevoked: isRevoked) }, awaited: awaited,
      positions: [[0], [0]])
  }

  private func fetch(_ state: inout ConsumerState) -> ConsumerState.FetchPlan? {
    if case .fetch(let plan) = state.plan(at: now, idle: .seconds(3)) { plan } else { nil }
  }

  /// One record of each partition that was wanted, and no more behind it.
  private func fetched(_ plan: ConsumerState.FetchPlan) -> BrokerStore.Fetched {
    let batch = EmbeddedBatch(identity: StoreIdentity(), source: NoContents(), capacity: 64)
    for want in plan.wants {
      batch.append(
        .init(
          position: RecordPosition(want.name, want.position), timestamp: now, generation: want.generation, key: 0,
          keySize: 0, headersSize: 0, value: .inBuffer(0), valueSize: 0, content: nil))
    }
    return BrokerStore.Fetched(
      records: batch.records(), positions: plan.wants.map { $0.position + 1 }, counts: plan.wants.map { _ in 1 },
      isExhausted: plan.wants.map { _ in true })
  }

  private struct NoContents: ContentSource {
    func load(content: Int64, of position: RecordPosition) async throws(BrokerError) -> Bytes { .empty }
  }

  @Test("waits when everything was read, and looks only where something came")
  func waits() throws {
    var state = state()
    let plan = try #require(fetch(&state))
    let all = state.took(fetched(plan), plan)
    #expect(all.count == 2)
    guard case .wait(let until) = state.plan(at: now, idle: .seconds(3)) else { throw BrokerError(.other, "no wait") }
    #expect(until == now + .seconds(3))
    let (isOwn, isForeign) = (state.noteRecords(in: 2), !state.noteRecords(in: 99))
    #expect(isOwn && isForeign)
    let found1 = fetch(&state)?.wants.map(\.name)
    #expect(found1 == [names[1]])
    let found2 = fetch(&state)?.wants.map(\.position)
    #expect(found2 == [1])
  }

  @Test("news that came during a fetch are not forgotten")
  func news() throws {
    var state = state()
    let plan = try #require(fetch(&state))
    _ = state.noteRecords(in: 1)
    _ = state.took(fetched(plan), plan)
    let found3 = fetch(&state)?.wants.map(\.name)
    #expect(found3 == [names[0]])
  }

  @Test("what was paused, sought or given up during a fetch is not handed out")
  func changes() throws {
    var paused = state()
    var plan = try #require(fetch(&paused))
    try paused.setPaused(true, [names[0]])
    let found4 = paused.took(fetched(plan), plan).map(\.topicPartition)
    #expect(found4 == [names[1]])
    try paused.setPaused(false, [names[0]])
    let found5 = fetch(&paused)?.wants.map(\.position)
    #expect(found5 == [0], "it comes after resume")

    var sought = state()
    plan = try #require(fetch(&sought))
    sought.seek(names[1], to: 5)
    let found6 = sought.took(fetched(plan), plan).map(\.topicPartition)
    #expect(found6 == [names[0]])
    let found7 = fetch(&sought)?.wants.map(\.position)
    #expect(found7 == [5])

    var released = state()
    plan = try #require(fetch(&released))
    let slots = released.release([names[0]])
    #expect(slots.map(\.number) == [0])
    let found8 = released.took(fetched(plan), plan).map(\.topicPartition)
    #expect(found8 == [names[1]])
    #expect(throws: BrokerError.self) {
      try released.checked([.init(topicPartition: names[0], generation: 1, next: 1, settled: [])])
    }
  }

  @Test("a release that the store has not seen yet is not undone by what it says")
  func released() {
    var state = state()
    _ = state.release([names[0]])
    state.apply(assignment(generation: 1, isRevoked: false), at: now)
    guard case .fetch(let plan) = state.plan(at: now, idle: .seconds(3)) else {
      Issue.record("it was told something")
      return
    }
    #expect(plan.wants.map(\.name) == [names[1]])
  }

  @Test("revoked partitions are told once and not read; taken ones are lost; others are waited for until their time")
  func revoked() {
    let awaited = Assignment.Awaited(number: 5, generation: 3, patience: 2_000_000)
    var state = state(awaited: [awaited])
    guard case .fetch = state.plan(at: now + .seconds(1), idle: .seconds(3)),
      case .synchronize([awaited]) = state.plan(at: now + .seconds(2), idle: .seconds(3))
    else {
      Issue.record("not taken in time")
      return
    }
    state.apply(assignment(generation: 1, isRevoked: true), at: now)
    guard case .event(.revoking(names)) = state.plan(at: now, idle: .seconds(3)),
      case .wait = state.plan(at: now, idle: .seconds(3))
    else {
      Issue.record("not told")
      return
    }
    state.apply(assignment(generation: 2), at: now)
    guard case .event(.lost(names)) = state.plan(at: now, idle: .seconds(3)),
      case .event(.assigned(names)) = state.plan(at: now, idle: .seconds(3))
    else {
      Issue.record("not told of the loss")
      return
    }
  }
}

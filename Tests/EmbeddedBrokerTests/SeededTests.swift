import EmbeddedBroker
import Pipeline
import PipelineTesting
import Synchronization
import Testing

@Suite("Seeded", .timeLimit(.minutes(1)))
struct SeededTests {
  /// Two members share a topic under a schedule that a seed chooses; returns the schedule's hash and what came out.
  private func run(_ seed: UInt64) throws -> (fingerprint: UInt64, choices: Int, out: [String]) {
    let clock = ManualClock()
    let executor = SeededExecutor(seed: seed)
    let result = Mutex<[String]?>(nil)
    let failure = Mutex<String?>(nil)
    let root = Task(executorPreference: executor) {
      do {
        let broker = try EmbeddedBroker.inMemory(clock: clock, options: .test, beforeEach: { await Task.yield() })
        try await broker.make("in", "out", partitions: 2)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for name in ["a", "b"] {
            group.addTask {
              let consumer = try await broker.member("g", "in", as: name)
              while true {
                do {
                  switch try await consumer.next(limit: 3) {
                  case .records(let records):
                    for partition in 0..<2 {
                      let some = records.filter { $0.topicPartition.partition == partition }
                      try await consumer.done(
                        some,
                        some.map { OutgoingRecord(topic: "out", key: $0.key, headers: Headers(), value: .same($0)) })
                    }
                  case .revoking(let partitions): try await consumer.release(partitions)
                  case .assigned, .lost: break
                  }
                } catch let error as BrokerError {
                  if error.kind == .cancelled || error.kind == .closed { return }
                  guard error.kind == .fenced else { throw error }
                }
              }
            }
          }
          group.addTask {
            for number in 0..<20 { try await broker.put("in", "\(number)") }
          }
          let watcher = try await broker.member("watch", "out")
          let records = try await watcher.take(20)
          result.withLock { $0 = records.map(\.key.text) }
          group.cancelAll()
        }
        await broker.close()
      } catch { failure.withLock { $0 = "\(error)" } }
    }
    var steps = 0
    while steps < 200_000 {
      steps += 1
      if executor.step() { continue }
      if result.withLock({ $0 != nil }) || failure.withLock({ $0 != nil }) { break }
      if !clock.advanceToNext() { break }
    }
    withExtendedLifetime(root) {}
    #expect(failure.withLock { $0 } == nil)
    let out = try #require(result.withLock { $0 })
    return (executor.fingerprint, executor.choices, out)
  }

  @Test(
    "every record passes once under every schedule, and a seed repeats its own",
    arguments: 1...20 as ClosedRange<UInt64>)
  func repeats(_ seed: UInt64) throws {
    let first = try run(seed)
    #expect(first.out.sorted() == (0..<20).map { "\($0)" }.sorted())
    #expect(first.choices > 50)
    let second = try run(seed)
    #expect(second.fingerprint == first.fingerprint)
    #expect(second.out == first.out)
  }
}

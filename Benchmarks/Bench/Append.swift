import EmbeddedBroker
import Pipeline
import Synchronization

/// Appends records of 1 KiB (16 bytes of key, 284 of headers, 724 of value) to one partition.
enum Append {
  private static let topic = "bench.append"
  private static let headers: Headers = {
    var headers = Headers()
    headers.append("bench-header", noise(284 - 18))
    return headers
  }()
  private static let value = Bytes(noise(724))
  private static let key = Bytes(noise(16))

  private static var record: OutgoingRecord {
    OutgoingRecord(topic: topic, key: key, headers: headers, value: .bytes(value))
  }

  private static func open(_ folder: String) async throws -> EmbeddedBroker {
    let broker = try await EmbeddedBroker.open(folder: folder, clock: SystemClock.shared)
    try await broker.create([TopicSpecification(topic, retention: .unlimited)])
    return broker
  }

  @concurrent static func run(_ folder: String, batch: Int, records: Int) async throws {
    let broker = try await open(folder)
    let meter = Meter()
    var done = 0
    while done < records {
      try await broker.produce((0..<batch).map { _ in record })
      done += batch
    }
    report(count: done, meter)
    await broker.close()
  }

  /// Every task waits for its own record; the broker makes a batch of those that wait together.
  @concurrent static func runGroup(_ folder: String, tasks: Int, records: Int) async throws {
    let broker = try await open(folder)
    let before = broker.commits
    let meter = Meter()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<tasks {
        group.addTask { for _ in 0..<(records / tasks) { try await broker.produce([record]) } }
      }
      try await group.waitForAll()
    }
    report(count: records / tasks * tasks, meter, ("commits", Double(broker.commits - before)))
    await broker.close()
  }
}

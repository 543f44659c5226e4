import EmbeddedBroker
import Glibc
import Pipeline

// Passes numbers from one topic to another until it is killed, and says on standard output what is durable: `p N` once
// N was produced, `s N` once it was settled. Killed at any moment, what it said must be true.

guard CommandLine.arguments.count == 3, let first = Int(CommandLine.arguments[2]) else {
  print("usage: BrokerCrashProbe FOLDER FIRST")
  exit(64)
}

@Sendable func say(_ line: String) {
  var bytes = Array((line + "\n").utf8)
  _ = write(1, &bytes, bytes.count)
}

var options = EmbeddedBroker.Options()
options.reserve = 0
options.ballast = 0
let broker = try await EmbeddedBroker.open(
  folder: CommandLine.arguments[1], clock: SystemClock.shared, options: options)
try await broker.create(
  ["in", "out"].map { TopicSpecification($0, partitions: 2, retention: .untilSettled(window: .zero)) })
let consumer = try await broker.join(Membership(group: "probe", topics: ["in"], instance: "probe", loadsValues: false))
say("ready")

try await withThrowingTaskGroup(of: Void.self) { group in
  group.addTask {
    var number = first
    while true {
      let batch = (number..<number + 5).map { number in
        OutgoingRecord(
          topic: "in", key: Bytes("\(number)"), headers: Headers(),
          value: .bytes(Bytes("\(number)." + String(repeating: "x", count: number % 3 * 2000))))
      }
      try await broker.produce(batch)
      for number in number..<number + 5 { say("p \(number)") }
      number += 5
    }
  }
  group.addTask {
    while true {
      guard case .records(let records) = try await consumer.next(limit: 7) else { continue }
      var last: [TopicPartition: Record] = [:]
      for record in records { last[record.topicPartition] = record }
      try await consumer.settle(
        Settlement(
          outputs: records.map { OutgoingRecord(topic: "out", key: $0.key, headers: Headers(), value: .same($0)) },
          progress: last.map { name, record in
            Settlement.Progress(
              topicPartition: name, generation: record.generation, next: record.offset + 1,
              settled: records.filter { $0.topicPartition == name })
          }))
      for record in records { say("s \(record.key.text)") }
    }
  }
  try await group.waitForAll()
}

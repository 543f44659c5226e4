import Glibc
import KafkaBroker
import Pipeline

// What one hop costs on Kafka: kafka-hop SERVERS [RECORDS [BYTES [BATCH]]]
// Records with three headers are taken, get three more, and are passed on with their content, in settlements of at most
// BATCH records, several under way at once. Compare CPU, and with a hop in C in the same run.

struct Usage {
  var wall = SystemClock.shared.now
  var cpu: Double = {
    var usage = rusage()
    getrusage(0, &usage)  // RUSAGE_SELF, which Swift imports with another type
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
      + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
  }()

  func report(_ what: String, _ count: Int) {
    let now = Usage()
    let seconds = Double((now.wall - wall).microseconds) / 1e6
    let micros = (now.cpu - cpu) * 1e8 / Double(count)
    print(
      "\(what): \(count) records, \(Int(Double(count) / seconds)) a second, CPU \(micros.rounded() / 100) us a record")
  }
}

func fill(_ broker: KafkaBroker, _ topic: String, _ count: Int, _ size: Int) async throws {
  var headers = Headers()
  for name in ["id", "sender", "received"] { headers.append(name, "0123456789abcdef".utf8) }
  let value = Bytes((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
  var left = count
  while left > 0 {
    let batch = min(left, 5000)
    try await broker.produce(
      (0..<batch).map {
        OutgoingRecord(
          topic: topic, partition: $0 % 8, key: Bytes("\($0)"), headers: headers, value: .bytes(value))
      })
    left -= batch
  }
}

func hop(_ broker: KafkaBroker, _ source: String, _ target: String, _ count: Int, _ batch: Int) async throws {
  let consumer = try await broker.join(Membership(group: source, topics: [source], instance: "bench"))
  var done = 0
  var usage: Usage?
  try await withThrowingTaskGroup(of: Void.self) { group in
    while done < count {
      guard case .records(let records) = try await consumer.next(limit: batch) else { continue }
      if usage == nil { usage = Usage() }
      done += records.count
      try await group.next()
      group.addTask {
        var outputs: [OutgoingRecord] = []
        outputs.reserveCapacity(records.count)
        var progress: [TopicPartition: Record] = [:]
        for record in records {
          var headers = try record.headers()
          headers.append("hop-id", "0123456789abcdef".utf8)
          headers.append("hop-stage", "filter".utf8)
          headers.append("hop-time", "1790000000000".utf8)
          outputs.append(OutgoingRecord(topic: target, key: record.key, headers: headers, value: .same(record)))
          progress[record.topicPartition] = record
        }
        try await consumer.settle(
          Settlement(
            outputs: outputs,
            progress: progress.map {
              .init(topicPartition: $0.key, generation: $0.value.generation, next: $0.value.offset + 1, settled: [])
            }))
      }
    }
    try await group.waitForAll()
  }
  usage?.report("hop", count)
  await consumer.close()
}

let arguments = CommandLine.arguments
guard arguments.count > 1 else {
  print("usage: kafka-hop SERVERS [RECORDS [BYTES [BATCH]]]")
  exit(64)
}
let numbers = arguments.dropFirst(2).compactMap { Int($0) }
let count = numbers.first ?? 200_000
let size = numbers.count > 1 ? numbers[1] : 1024
let batch = numbers.count > 2 ? numbers[2] : 2000
let source = "hop-\(SystemRandom().next())"
let target = "\(source)-out"
let broker = try await KafkaBroker.open(.init(servers: arguments[1]))
try await broker.create([
  TopicSpecification(source, partitions: 8, retention: .unlimited),
  TopicSpecification(target, partitions: 8, retention: .unlimited),
])
let filling = Usage()
try await fill(broker, source, count, size)
filling.report("produce", count)
try await hop(broker, source, target, count, batch)
try await broker.delete([source, target])
await broker.close()

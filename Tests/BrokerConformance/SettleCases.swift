import Pipeline

extension BrokerConformance {
  static let settleCases: [Case] = [
    Case("outputs and progress are there together") { bench in
      let source = try await bench.topic("in")
      let targets = [try await bench.topic("out1", partitions: 3), try await bench.topic("out2")]
      try await bench.produce(source, bench.numbers(0..<3))
      let consumer = try await bench.join("g", [source])
      let records = try await bench.take(3, from: consumer)
      try await bench.settle(
        records, on: consumer, outputs: [bench.record(targets[0], "x", partition: 2), bench.record(targets[1], "y")])
      try bench.expect(try await bench.texts(in: targets[0], 2), ["x"], "first target")
      try bench.expect(try await bench.texts(in: targets[1]), ["y"], "second target")
      let committed = try await bench.committed("g", [source])
      try bench.expect(committed[TopicPartition(source, 0)], records[2].offset + 1, "progress")
    },
    Case("outputs without progress, progress without outputs, and neither") { bench in
      let source = try await bench.topic("in")
      let target = try await bench.topic("out")
      try await bench.produce(source, ["a"])
      let consumer = try await bench.join("g", [source])
      let records = try await bench.take(1, from: consumer)
      try await consumer.settle(Settlement(outputs: [bench.record(target, "x")], progress: []))
      try await consumer.settle(Settlement(outputs: [], progress: bench.progress(records)))
      try await consumer.settle(Settlement())
      try bench.expect(try await bench.texts(in: target), ["x"], "the output")
      await consumer.close()
      let again = try await bench.join("g", [source])
      try await bench.produce(source, ["b"])
      try bench.expect(try await bench.texts(bench.take(1, from: again)), ["b"], "the next one")
    },
    Case("a refused settlement leaves nothing", needs: { $0.exactlyOnce }) { bench in
      let source = try await bench.topic("in")
      let target = try await bench.topic("out")
      try await bench.produce(source, ["a"])
      let consumer = try await bench.join("g", [source])
      let records = try await bench.take(1, from: consumer)
      try await bench.expectError(.unknownTopic, what: "an output to nowhere") {
        try await bench.settle(
          records, on: consumer, outputs: [bench.record(target, "x"), bench.record("\(bench.prefix).nowhere", "y")])
      }
      try bench.expect(try await bench.all(target).count, 0, "outputs")
      try bench.expect(try await bench.committed("g", [source]).count, 0, "progress")
    },
    Case("a hop to its own topic") { bench in
      let topic = try await bench.topic("loop")
      try await bench.produce(topic, [String(repeating: "l", count: 3000)])
      let consumer = try await bench.join("g", [topic])
      for _ in 0..<5 {
        let records = try await bench.take(1, from: consumer)
        try await bench.settle(records, on: consumer, outputs: records.map { bench.copy(of: $0, to: topic) })
      }
      for last in try await bench.take(1, from: consumer) {
        try bench.expect(try await last.value().count, 3000, "the value after five rounds")
      }
    },
    Case("progress of several partitions in one settlement") { bench in
      let topic = try await bench.topic("several", partitions: 3)
      for partition in 0..<3 { try await bench.produce(topic, bench.numbers(0..<4), partition: partition) }
      let consumer = try await bench.join("g", [topic])
      let records = try await bench.take(12, from: consumer)
      try await bench.settle(records, on: consumer)
      let committed = try await bench.committed("g", [topic])
      try bench.expect(committed.count, 3, "partitions")
      for mark in try await bench.broker.watermarks((0..<3).map { TopicPartition(topic, $0) }) {
        let last = records.last { $0.topicPartition == mark.topicPartition }
        try bench.expect(committed[mark.topicPartition], last.map { $0.offset + 1 }, "behind the last record")
        try bench.expect((committed[mark.topicPartition] ?? .max) <= mark.end, "within the partition")
      }
    },
    Case("a chain of hops passes content on") { bench in
      let topics = try await (0..<4).asyncMap { try await bench.topic("hop\($0)", partitions: 2) }
      let values = (0..<30).map { "\($0)" + String(repeating: "c", count: $0 * 200) }
      try await bench.produce(topics[0], values)
      for hop in 0..<3 {
        let consumer = try await bench.join("g\(hop)", [topics[hop]], loadsValues: hop == 1)
        var left = 30
        while left > 0 {
          let records = try await bench.take(1, from: consumer, limit: 8)
          try await bench.settle(
            records, on: consumer, outputs: records.map { bench.copy(of: $0, to: topics[hop + 1]) })
          left -= records.count
        }
      }
      let last = try await bench.texts(in: topics[3], 0) + bench.texts(in: topics[3], 1)
      try bench.expect(last.sorted(), values.sorted(), "values at the end")
    },
  ]
}

extension Sequence {
  fileprivate func asyncMap<R>(_ transform: (Element) async throws -> R) async rethrows -> [R] {
    var result: [R] = []
    for element in self { result.append(try await transform(element)) }
    return result
  }
}

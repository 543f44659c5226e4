import Pipeline

extension BrokerConformance {
  static let readCases: [Case] = [
    Case("topics are made once, described and sorted; another number of partitions is refused") { bench in
      let names = ["\(bench.prefix).b", "\(bench.prefix).a"]
      let specifications = [
        TopicSpecification(names[0], partitions: 3, retention: .unlimited),
        TopicSpecification(names[1], partitions: 1, retention: .unlimited),
      ]
      try await bench.broker.create(specifications)
      try await bench.broker.create(specifications)
      let found = try await bench.broker.topics(prefix: bench.prefix)
      try bench.expect(found.map(\.name), names.sorted(), "names")
      try bench.expect(found.map(\.partitions), [1, 3], "partitions")
      try await bench.expectError(.mismatch, what: "4 partitions instead of 3") {
        try await bench.broker.create([TopicSpecification(names[0], partitions: 4, retention: .unlimited)])
      }
      try bench.expect(try await bench.broker.topics(prefix: "\(bench.prefix).nothing").count, 0, "no such prefix")
    },
    Case("what does not exist is refused") { bench in
      let missing = "\(bench.prefix).missing"
      try await bench.expectError(.unknownTopic, what: "produce") { try await bench.produce(missing, ["x"]) }
      try await bench.expectError(.unknownTopic, what: "read") {
        _ = try await bench.broker.read(TopicPartition(missing, 0), from: 0, limit: 1)
      }
      try await bench.expectError(.unknownTopic, what: "watermarks") {
        _ = try await bench.broker.watermarks([TopicPartition(missing, 0)])
      }
      try await bench.expectError(.unknownTopic, what: "join") { _ = try await bench.join("g", [missing]) }
      let topic = try await bench.topic("there")
      try await bench.expectError(.unknownTopic, what: "a batch with one unknown topic") {
        try await bench.broker.produce([bench.record(topic, "a"), bench.record(missing, "b")])
      }
      try bench.expect(try await bench.all(topic).count, 0, "nothing of that batch was appended")
    },
    Case("ranges are read without a group") { bench in
      let topic = try await bench.topic("range")
      let partition = TopicPartition(topic, 0)
      try bench.expect(try await bench.broker.read(partition, from: 0, limit: 10).count, 0, "an empty topic")
      try await bench.produce(topic, bench.numbers(0..<20))
      let all = try await bench.all(topic)
      try bench.expect(try await bench.texts(all), bench.numbers(0..<20), "everything")
      try bench.expect(all.allSatisfy { $0.generation == 0 }, "read, not consumed")
      let part = try await bench.broker.read(partition, from: all[5].offset, limit: 3)
      try bench.expect(try await bench.texts(part), bench.numbers(5..<8), "a range")
      let end = try await bench.end(topic)
      try bench.expect(try await bench.broker.read(partition, from: end, limit: 3).count, 0, "the end")
      try await bench.expectError(.outOfRange, what: "beyond the end") {
        _ = try await bench.broker.read(partition, from: end + 1, limit: 3)
      }
      try await bench.expectError(.outOfRange, what: "before the beginning") {
        _ = try await bench.broker.read(partition, from: -1, limit: 3)
      }
    },
    Case("watermarks") { bench in
      let topic = try await bench.topic("marks", partitions: 2)
      let partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
      let empty = try await bench.broker.watermarks(partitions)
      try bench.expect(empty.map { $0.end - $0.first }, [0, 0], "empty")
      try await bench.produce(topic, bench.numbers(0..<7), partition: 1)
      let marks = try await bench.broker.watermarks(partitions)
      try bench.expect(marks.map(\.topicPartition), partitions, "in the order asked")
      try bench.expect(marks[0].end, marks[0].first, "still empty")
      try bench.expect(marks[1].end - marks[1].first >= 7, "seven records")
    },
    Case("offset by time", needs: { $0.offsetsByTime }) { bench in
      let topic = try await bench.topic("time")
      let partition = TopicPartition(topic, 0)
      try await bench.produce(topic, ["a", "b"])
      let between = bench.clock.now + .milliseconds(5)
      try await bench.clock.sleep(until: between + .milliseconds(5))
      try await bench.produce(topic, ["c", "d"])
      let all = try await bench.all(topic)
      let first = try await bench.broker.offset(of: partition, at: Timestamp(milliseconds: 0))
      try bench.expect(first, all[0].offset, "the beginning")
      try bench.expect(try await bench.broker.offset(of: partition, at: between), all[2].offset, "in between")
      let last = try await bench.broker.offset(of: partition, at: bench.clock.now + .seconds(3600))
      try bench.expect(last, try await bench.end(topic), "the end")
    },
    Case("a deleted topic is gone, with what groups had of it", needs: { $0.deletion }) { bench in
      let topic = try await bench.topic("gone")
      try await bench.produce(topic, [String(repeating: "x", count: 5000), "b"])
      let consumer = try await bench.join("g", [topic])
      try await bench.settle(try await bench.take(2, from: consumer), on: consumer)
      await consumer.close()
      try await bench.broker.delete([topic])
      try await bench.broker.delete([topic])
      try bench.expect(try await bench.broker.topics(prefix: topic).count, 0, "description")
      try bench.expect(try await bench.committed("g", [topic]).count, 0, "offsets of the group")
      try await bench.expectError(.unknownTopic, what: "produce") { try await bench.produce(topic, ["c"]) }
      _ = try await bench.topic("gone")
      try await bench.produce(topic, ["new"])
      let again = try await bench.join("g", [topic])
      try bench.expect(try await bench.texts(bench.take(1, from: again)), ["new"], "a new topic of that name")
    },
  ]
}

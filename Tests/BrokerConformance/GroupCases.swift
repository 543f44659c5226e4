import Pipeline

extension BrokerConformance {
  static let groupCases: [Case] = [
    Case("a group begins at the first record, and another group too") { bench in
      let topic = try await bench.topic("begin")
      try await bench.produce(topic, ["a", "b"])
      for group in ["g", "h"] {
        let consumer = try await bench.join(group, [topic])
        try bench.expect(try await bench.texts(bench.take(2, from: consumer)), ["a", "b"], "group \(group)")
      }
    },
    Case("a waiting consumer wakes for new records") { bench in
      let topic = try await bench.topic("wake")
      let consumer = try await bench.join("g", [topic])
      _ = try await bench.assigned(consumer)
      for round in 0..<20 {
        async let waiting = bench.take(1, from: consumer)
        try await bench.produce(topic, ["\(round)"])
        try bench.expect(try await bench.texts(waiting), ["\(round)"], "the record")
      }
    },
    Case("records come once while an assignment lasts, at most as many as asked for") { bench in
      let topic = try await bench.topic("once", partitions: 2)
      try await bench.produce(topic, bench.numbers(0..<100))
      let consumer = try await bench.join("g", [topic])
      var seen: [String] = []
      while seen.count < 100 {
        guard case .records(let records) = try await bench.next(consumer, limit: 7) else { continue }
        try bench.expect((1...7).contains(records.count), "\(records.count) of at most 7")
        seen += try await bench.texts(records)
      }
      try bench.expect(seen.sorted(), bench.numbers(0..<100).sorted(), "each once")
      try bench.expect(try await bench.rest(consumer), [], "what comes again")
    },
    Case("no partition waits for another that has many") { bench in
      let topic = try await bench.topic("fair", partitions: 3)
      try await bench.produce(topic, bench.numbers(0..<300), partition: 1)
      try await bench.produce(topic, ["one"], partition: 0)
      try await bench.produce(topic, ["two"], partition: 2)
      let consumer = try await bench.join("g", [topic])
      // The long one never ends. How soon the short ones come depends on what is fetched first; but they come.
      try await bench.within("the short ones") {
        var missing: Set = ["one", "two"]
        while !missing.isEmpty {
          missing.subtract(try await bench.texts(bench.take(10, from: consumer, limit: 10)))
          try await bench.produce(topic, bench.numbers(0..<10), partition: 1)
        }
      }
    },
    Case("what was not settled comes again after a rejoin") { bench in
      let topic = try await bench.topic("again")
      try await bench.produce(topic, bench.numbers(0..<6))
      let first = try await bench.join("g", [topic])
      let records = try await bench.take(6, from: first)
      try await bench.settle(Array(records.prefix(2)), on: first)
      await first.close()
      let second = try await bench.join("g", [topic])
      try bench.expect(try await bench.texts(bench.take(4, from: second)), bench.numbers(2..<6), "the rest")
      let committed = try await bench.broker.committed(group: bench.group("g"))
      try bench.expect(committed, [TopicPartition(topic, 0): records[1].offset + 1], "where the group stands")
    },
    Case("where a group stands, before it has settled anything") { bench in
      let topic = try await bench.topic("nothing")
      try bench.expect(try await bench.broker.committed(group: bench.group("g")).count, 0, "no such group")
      let consumer = try await bench.join("g", [topic])
      _ = try await bench.assigned(consumer)
      try bench.expect(try await bench.broker.committed(group: bench.group("g")).count, 0, "nothing settled")
    },
    Case(
      "members share the partitions, and partition n of all topics belongs to one", needs: { $0.incrementalRevocation }
    ) { bench in
      let topics = [try await bench.topic("left", partitions: 4), try await bench.topic("right", partitions: 4)]
      let first = try await bench.join("g", topics, as: "a")
      try bench.expect(try await bench.assigned(first).count, 8, "alone, it has all")
      let second = try await bench.join("g", topics, as: "b")
      let moved = try await bench.revoked(first)
      try bench.expect(moved.count, 4, "half of it has to go")
      try await first.release(moved)
      try bench.expect(try await bench.assigned(second).sorted(), moved.sorted(), "the other one has it")
      let members = try await bench.broker.members(group: bench.group("g"))
      try bench.expect(members.count, 8, "every partition is listed")
      for number in 0..<4 {
        let owners = topics.map { members[TopicPartition($0, number)] ?? nil }
        try bench.expect(owners[0], owners[1], "partition \(number) of both topics")
        try bench.expect(owners[0] == "a" || owners[0] == "b", "partition \(number) has an owner")
      }
      for number in 0..<4 {
        try await bench.produce(topics[0], bench.numbers(number * 10..<number * 10 + 10), partition: number)
      }
      async let left = bench.texts(bench.take(20, from: first))
      async let right = bench.texts(bench.take(20, from: second))
      let all = try await left + right
      try bench.expect(all.sorted(), bench.numbers(0..<40).sorted(), "each record reaches one of them")
    },
    Case("when a member leaves, the others take over where it was", needs: { $0.incrementalRevocation }) { bench in
      let topic = try await bench.topic("leave", partitions: 2)
      let first = try await bench.join("g", [topic], as: "a")
      _ = try await bench.assigned(first)
      let second = try await bench.join("g", [topic], as: "b")
      let moved = try await bench.revoked(first)
      try await first.release(moved)
      _ = try await bench.assigned(second)
      try await bench.produce(topic, bench.numbers(0..<3), partition: moved[0].partition)
      let records = try await bench.take(3, from: second)
      try await bench.settle(Array(records.prefix(1)), on: second)
      await second.close()
      try bench.expect(try await bench.texts(bench.take(2, from: first)), bench.numbers(1..<3), "what b had left")
    },
    Case("topics of unequal partition counts cannot be read by one group") { bench in
      let topics = [try await bench.topic("two", partitions: 2), try await bench.topic("three", partitions: 3)]
      try await bench.expectError(.mismatch, what: "2 and 3") { _ = try await bench.join("g", topics) }
    },
    Case("pause and resume") { bench in
      let topic = try await bench.topic("pause", partitions: 2)
      let consumer = try await bench.join("g", [topic])
      _ = try await bench.assigned(consumer)
      try await consumer.pause([TopicPartition(topic, 0)])
      try await bench.produce(topic, ["paused"], partition: 0)
      try await bench.produce(topic, ["other"], partition: 1)
      try bench.expect(try await bench.texts(bench.take(1, from: consumer)), ["other"], "the one that is not paused")
      try bench.expect(try await bench.rest(consumer), [], "of the paused one")
      async let waiting = bench.take(1, from: consumer)
      try await consumer.resume([TopicPartition(topic, 0)])
      try bench.expect(try await bench.texts(waiting), ["paused"], "after resume")
    },
    Case("seek back and forth, and out of range") { bench in
      let topic = try await bench.topic("seek")
      let partition = TopicPartition(topic, 0)
      try await bench.produce(topic, bench.numbers(0..<10))
      let consumer = try await bench.join("g", [topic])
      let records = try await bench.take(10, from: consumer)
      try await consumer.seek(partition, to: records[7].offset)
      try bench.expect(try await bench.texts(bench.take(3, from: consumer)), bench.numbers(7..<10), "from 7")
      try await consumer.seek(partition, to: records[0].offset)
      try bench.expect(try await bench.texts(bench.take(10, from: consumer)), bench.numbers(0..<10), "from 0")
      let end = try await bench.end(topic)
      for wrong in [end + 5, -5] {
        try await bench.expectError(.outOfRange, what: "seek to \(wrong)") {
          try await consumer.seek(partition, to: wrong)
        }
      }
    },
  ]
}

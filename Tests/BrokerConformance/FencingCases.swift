import Pipeline

extension BrokerConformance {
  static let fencingCases: [Case] = [
    Case("whoever joins under a name replaces the one before", needs: { $0.namedMembers && $0.exactlyOnce }) { bench in
      let topic = try await bench.topic("name")
      let target = try await bench.topic("out")
      try await bench.produce(topic, ["a", "b"])
      let old = try await bench.join("g", [topic], as: "same")
      let records = try await bench.take(2, from: old)
      let new = try await bench.join("g", [topic], as: "same")
      let again = try await bench.take(2, from: new)
      try bench.expect(try await bench.texts(again), ["a", "b"], "the new one has the records")
      try await bench.expectError(.fenced, .closed, what: "the old one settles") {
        try await bench.settle(records, on: old, outputs: [bench.record(target, "old")])
      }
      try await bench.expectError(.fenced, .closed, what: "the old one consumes") {
        try await bench.event("the end", from: old) { _ -> Void? in nil }
      }
      try await bench.settle(again, on: new, outputs: [bench.record(target, "new")])
      try bench.expect(try await bench.texts(in: target), ["new"], "the outputs")
      // The old one goes, and takes nothing with it.
      await old.close()
      try await bench.produce(topic, ["c"])
      try bench.expect(try await bench.texts(bench.take(1, from: new)), ["c"], "the new one goes on")
    },
    Case("what was given up cannot be settled") { bench in
      let topic = try await bench.topic("given", partitions: 2)
      let target = try await bench.topic("out")
      for partition in 0..<2 { try await bench.produce(topic, ["a"], partition: partition) }
      let first = try await bench.join("g", [topic], as: "a")
      let records = try await bench.take(2, from: first)
      let second = try await bench.join("g", [topic], as: "b")
      let moved = try await bench.revoked(first)
      try await first.release(moved)
      let lost = records.filter { moved.contains($0.topicPartition) }
      for some in [lost, records] {
        try await bench.expectError(.fenced, what: "settling \(some.count) after release") {
          try await bench.settle(some, on: first, outputs: [bench.record(target, "first")])
        }
      }
      let again = try await bench.take(1, from: second)
      try await bench.settle(again, on: second, outputs: [bench.record(target, "second")])
      try bench.expect(try await bench.texts(in: target), ["second"], "outputs")
      try await bench.settle(records.filter { !moved.contains($0.topicPartition) }, on: first)
    },
    Case("what has to be given up can be settled until then") { bench in
      let topic = try await bench.topic("until", partitions: 2)
      for partition in 0..<2 { try await bench.produce(topic, ["a", "b"], partition: partition) }
      let first = try await bench.join("g", [topic], as: "a")
      let records = try await bench.take(4, from: first)
      let second = try await bench.join("g", [topic], as: "b")
      let moved = try await bench.revoked(first)
      try await bench.settle(records.filter { moved.contains($0.topicPartition) }, on: first)
      try await first.release(moved)
      _ = try await bench.assigned(second)
      try bench.expect(try await bench.rest(second), [], "what is delivered again")
    },
    Case(
      "a member that does not let go loses the partition after its deadline",
      needs: { $0.shortDeadlines && $0.incrementalRevocation }
    ) { bench in
      let topic = try await bench.topic("deadline", partitions: 2)
      let target = try await bench.topic("out")
      for partition in 0..<2 { try await bench.produce(topic, ["a"], partition: partition) }
      let deadline = Duration.milliseconds(200)
      let first = try await bench.join("g", [topic], as: "a", deadline: deadline)
      let records = try await bench.take(2, from: first)
      let second = try await bench.join("g", [topic], as: "b", deadline: deadline)
      let taken = try await bench.take(1, from: second)
      let lost = try await bench.lost(first)
      try bench.expect(lost, taken.map(\.topicPartition), "what was lost")
      try await bench.expectError(.fenced, what: "settling what was lost") {
        try await bench.settle(
          records.filter { lost.contains($0.topicPartition) }, on: first, outputs: [bench.record(target, "first")])
      }
      try await bench.settle(taken, on: second, outputs: [bench.record(target, "second")])
      try bench.expect(try await bench.texts(in: target), ["second"], "outputs")
    },
    Case(
      "a member that has not noticed its loss settles nothing either",
      needs: { $0.shortDeadlines }
    ) { bench in
      let topic = try await bench.topic("unaware", partitions: 2)
      let target = try await bench.topic("out")
      for partition in 0..<2 { try await bench.produce(topic, ["a"], partition: partition) }
      let first = try await bench.join("g", [topic], as: "a", deadline: .milliseconds(100))
      let records = try await bench.take(2, from: first)
      // From here on nobody asks `first` for anything: it was told nothing.
      let second = try await bench.join("g", [topic], as: "b", deadline: .milliseconds(100))
      let taken = try await bench.take(1, from: second)
      try await bench.expectError(.fenced, what: "settling both") {
        try await bench.settle(records, on: first, outputs: [bench.record(target, "first")])
      }
      try await bench.settle(taken, on: second, outputs: [bench.record(target, "second")])
      try bench.expect(try await bench.texts(in: target), ["second"], "outputs")
    },
    Case(
      "records of an earlier assignment cannot be settled under a later one",
      needs: { $0.incrementalRevocation }
    ) { bench in
      let topic = try await bench.topic("regained", partitions: 2)
      let target = try await bench.topic("out")
      for partition in 0..<2 { try await bench.produce(topic, ["a"], partition: partition) }
      let first = try await bench.join("g", [topic], as: "a")
      let records = try await bench.take(2, from: first)
      let second = try await bench.join("g", [topic], as: "b")
      let moved = try await bench.revoked(first)
      try await first.release(moved)
      _ = try await bench.assigned(second)
      await second.close()
      let again = try await bench.take(1, from: first)
      try bench.expect(again.map(\.topicPartition), moved, "it has the partition again")
      let stale = records.filter { moved.contains($0.topicPartition) }
      try bench.expect(again[0].generation > stale[0].generation, "under a later generation")
      try await bench.expectError(.fenced, what: "the stale record") {
        try await bench.settle(stale, on: first, outputs: [bench.record(target, "stale")])
      }
      try await bench.settle(again, on: first, outputs: [bench.record(target, "fresh")])
      try bench.expect(try await bench.texts(in: target), ["fresh"], "outputs")
    },
  ]
}

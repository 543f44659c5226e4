import Pipeline

extension BrokerConformance {
  static let lifeCases: [Case] = [
    Case("closing a consumer ends its waiting call") { bench in
      let topic = try await bench.topic("close")
      let consumer = try await bench.join("g", [topic])
      _ = try await bench.assigned(consumer)
      async let waiting = kind { _ = try await bench.next(consumer) }
      await consumer.close()
      try bench.expect(try await waiting, .closed, "the waiting call")
      try await bench.expectError(.closed, what: "a later call") { _ = try await bench.next(consumer) }
      await consumer.close()
    },
    Case("closing the broker ends everything") { bench in
      let topic = try await bench.topic("all")
      try await bench.produce(topic, ["a"])
      let broker = try await bench.second()
      let consumer = try await bench.join("g", [topic], on: broker)
      let records = try await bench.take(1, from: consumer)
      async let waiting = kind { _ = try await bench.next(consumer) }
      await broker.close()
      try bench.expect(try await waiting, .closed, "the waiting call")
      try bench.expect(records[0].key.text, "a", "the key of a record in hand")
      try bench.expect(try await bench.texts(records), ["a"], "its value")
      try await bench.expectError(.closed, what: "produce") { try await broker.produce([bench.record(topic, "b")]) }
      try await bench.expectError(.closed, what: "settle") { try await bench.settle(records, on: consumer) }
      try await bench.expectError(.closed, what: "join") { _ = try await bench.join("g", [topic], on: broker) }
      try await bench.expectError(.closed, what: "topics") { _ = try await broker.topics(prefix: "") }
      await broker.close()
    },
    Case("a cancelled wait loses nothing") { bench in
      let topic = try await bench.topic("cancel")
      let consumer = try await bench.join("g", [topic])
      _ = try await bench.assigned(consumer)
      for round in 0..<30 {
        let found = try await withThrowingTaskGroup(of: [Record]?.self) { group in
          group.addTask {
            do {
              if case .records(let records) = try await consumer.next(limit: 10) { return records }
            } catch let error as BrokerError where error.kind == .cancelled {}
            return nil
          }
          try await bench.produce(topic, ["\(round)"])
          group.cancelAll()
          return try await group.next() ?? nil
        }
        let records = if let found { found } else { try await bench.take(1, from: consumer) }
        try bench.expect(try await bench.texts(records), ["\(round)"], "round \(round)")
      }
    },
    Case("another process sees what is there, and wakes for what comes", needs: { $0.secondInstance }) { bench in
      let topic = try await bench.topic("processes")
      let other = try await bench.second()
      try await bench.produce(topic, ["a"])
      try bench.expect(try await bench.texts(bench.all(topic, on: other)), ["a"], "what is there")
      let consumer = try await bench.join("g", [topic], on: other)
      _ = try await bench.take(1, from: consumer)
      async let waiting = bench.take(1, from: consumer)
      try await bench.produce(topic, ["b"])
      try bench.expect(try await bench.texts(waiting), ["b"], "what comes")
      await other.close()
    },
    Case(
      "processes share a group, and one takes over from the other",
      needs: { $0.secondInstance && $0.incrementalRevocation }
    ) { bench in
      let topic = try await bench.topic("shared", partitions: 2)
      let other = try await bench.second()
      let first = try await bench.join("g", [topic], as: "a")
      _ = try await bench.assigned(first)
      let second = try await bench.join("g", [topic], as: "b", on: other)
      let moved = try await bench.revoked(first)
      try await first.release(moved)
      try bench.expect(try await bench.assigned(second), moved, "the other process has it")
      try await bench.produce(topic, ["x"], partition: moved[0].partition)
      try bench.expect(try await bench.texts(bench.take(1, from: second)), ["x"], "its record")
      await other.close()
      try bench.expect(try await bench.texts(bench.take(1, from: first)), ["x"], "again, after that one ended")
    },
    Case(
      "a name is taken over from another process",
      needs: { $0.secondInstance && $0.namedMembers && $0.exactlyOnce }
    ) { bench in
      let topic = try await bench.topic("zombie")
      try await bench.produce(topic, ["a"])
      let other = try await bench.second()
      let zombie = try await bench.join("g", [topic], as: "worker", on: other)
      let stale = try await bench.take(1, from: zombie)
      let successor = try await bench.join("g", [topic], as: "worker")
      let records = try await bench.take(1, from: successor)
      try await bench.expectError(.fenced, .closed, what: "the one before settles") {
        try await bench.settle(stale, on: zombie)
      }
      try await bench.settle(records, on: successor)
      await other.close()
    },
  ]

  /// The kind of the broker error that `body` throws; nil if it throws none.
  private static func kind(_ body: () async throws -> Void) async throws -> BrokerError.Kind? {
    do { try await body() } catch let error as BrokerError { return error.kind }
    return nil
  }
}

import Pipeline

extension BrokerConformance {
  static let loadCases: [Case] = [
    Case("many producers and consumers: every record passes exactly once", needs: { $0.exactlyOnce }) { bench in
      let (producers, consumers, each) = (8, 4, 50)
      let source = try await bench.topic("source", partitions: 8)
      let target = try await bench.topic("target", partitions: 2)
      let total = producers * each
      try await bench.within("\(total) records") {
        try await withThrowingTaskGroup(of: Bool.self) { group in
          for producer in 0..<producers {
            group.addTask {
              for number in 0..<each {
                let value = "\(producer)-\(number)" + (number % 5 == 0 ? String(repeating: ".", count: 2000) : "")
                try await bench.broker.produce([bench.record(source, value, key: "key-\(producer)")])
              }
              return false
            }
          }
          for number in 0..<consumers {
            group.addTask {
              let consumer = try await bench.join("g", [source], as: "member-\(number)")
              try await pass(to: target, consumer, bench)
              await consumer.close()
              return false
            }
          }
          // What came through is counted from outside; then the consumers are ended. Whatever fails before ends it all.
          group.addTask {
            let watcher = try await bench.join("watch", [target])
            var count = 0
            while count < total { count += try await bench.take(1, from: watcher).count }
            return true
          }
          while try await group.next() == false {}
          group.cancelAll()
          try await group.waitForAll()
        }
      }
      var seen: [String] = []
      for partition in 0..<2 { seen += try await bench.texts(in: target, partition) }
      let names = seen.map { String($0.prefix { $0 != "." }) }
      try bench.expect(names.count, total, "records at the target")
      try bench.expect(Set(names).count, total, "different ones")
      for producer in 0..<producers {
        let order = names.filter { $0.hasPrefix("\(producer)-") }.compactMap { Int($0.dropFirst(2)) }
        try bench.expect(order, Array(0..<each), "order of producer \(producer)")
      }
    }
  ]

  /// Passes everything on until the task is cancelled.
  private static func pass(to target: String, _ consumer: any Consumer, _ bench: Bench) async throws {
    while true {
      do {
        switch try await consumer.next(limit: 20) {
        case .records(let records):
          try await bench.settle(records, on: consumer, outputs: records.map { bench.copy(of: $0, to: target) })
        case .revoking(let partitions): try await consumer.release(partitions)
        case .assigned, .lost: break
        }
      } catch let error as BrokerError {
        if error.kind == .cancelled { return }
        // Somebody joined, and the partition moved: its new owner does it.
        guard error.kind == .fenced else { throw error }
      }
    }
  }
}

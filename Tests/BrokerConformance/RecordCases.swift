import Pipeline

extension BrokerConformance {
  static let recordCases: [Case] = [
    Case("payload, key and headers come back as they were") { bench in
      let topic = try await bench.topic("round")
      let binary = (0...255).map { UInt8($0) }
      var headers = Headers()
      headers.append("empty", [])
      headers.append("binary", binary)
      headers.append("text", "grün".utf8)
      headers.append("twice", "1".utf8)
      headers.append("twice", "2".utf8)
      let values: [[UInt8]] = [[], [0], binary, Array(repeating: 7, count: 1024), Array(repeating: 8, count: 1025)]
      let sent = try await bench.broker.produce(
        values.map { OutgoingRecord(topic: topic, key: Bytes(binary), headers: headers, value: .bytes(Bytes($0))) })
      try bench.expect(sent.map(\.offset), sent.map(\.offset).sorted(), "offsets rise")
      let consumer = try await bench.join("g", [topic])
      let records = try await bench.take(values.count, from: consumer)
      try bench.expect(records.map(\.offset), sent.map(\.offset), "offsets as reported")
      for (record, value) in zip(records, values) {
        try bench.expect(Array(record.key), binary, "key")
        try bench.expect(record.valueSize, value.count, "size of the value")
        try bench.expect(Array(try await record.value()), value, "value")
        let found = try record.headers().all
        try bench.expect(found.map(\.name), headers.all.map(\.name), "header names")
        try bench.expect(found.map { Array($0.value) }, headers.all.map { Array($0.value) }, "header values")
        try bench.expect(record.timestamp > Timestamp(milliseconds: 0), "a timestamp")
      }
    },
    Case("empty key, no headers, empty value") { bench in
      let topic = try await bench.topic("bare")
      try await bench.broker.produce([
        OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(.empty))
      ])
      let consumer = try await bench.join("g", [topic])
      for record in try await bench.take(1, from: consumer) + bench.all(topic) {
        try bench.expect(record.key.isEmpty, "empty key")
        try bench.expect(try record.headers().isEmpty, "no headers")
        try bench.expect(try await record.value().isEmpty, "empty value")
      }
    },
    Case("a large value and many headers") { bench in
      let topic = try await bench.topic("large")
      let value = Bytes((0..<bench.features.largestValue).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) })
      var headers = Headers()
      for number in 0..<200 { headers.append("header-\(number)", "value \(number)".utf8) }
      try await bench.broker.produce([
        OutgoingRecord(topic: topic, key: Bytes("k"), headers: headers, value: .bytes(value))
      ])
      for loads in [true, false] {
        let consumer = try await bench.join("g\(loads)", [topic], loadsValues: loads)
        for record in try await bench.take(1, from: consumer) {
          try bench.expect(record.valueSize, value.count, "size")
          try bench.expect(try await record.value() == value, "the value, loaded: \(loads)")
          try bench.expect(try record.headers().all.count, 200, "headers")
          try bench.expect(try record.headers()["header-199"], "value 199", "last header")
        }
      }
    },
    Case("a record beyond the limit is refused, and its batch with it") { bench in
      let topic = try await bench.topic("limit")
      let huge = Bytes([UInt8](repeating: 1, count: 65 << 20))
      try await bench.expectError(.tooLarge, what: "65 MiB") {
        try await bench.broker.produce([
          bench.record(topic, "first"),
          OutgoingRecord(topic: topic, key: .empty, headers: Headers(), value: .bytes(huge)),
        ])
      }
      try bench.expect(try await bench.all(topic).count, 0, "nothing was appended")
    },
    Case("records of one key stay in order, where the partitioner says") { bench in
      let topic = try await bench.topic("order", partitions: 4)
      var sent: [OutgoingRecord] = []
      for round in 0..<25 { for key in 0..<8 { sent.append(bench.record(topic, "\(round)", key: "key-\(key)")) } }
      let positions = try await bench.broker.produce(sent)
      for (record, position) in zip(sent, positions) {
        try bench.expect(
          position.topicPartition.partition, Partitioner.partition(of: record.key, among: 4), "where \(record.key) went"
        )
      }
      let consumer = try await bench.join("g", [topic])
      var rounds: [String: [String]] = [:]
      for record in try await bench.take(sent.count, from: consumer) {
        try bench.expect(
          record.topicPartition.partition, Partitioner.partition(of: record.key, among: 4), "partition as consumed")
        rounds[record.key.text, default: []].append(try await record.value().text)
      }
      try bench.expect(rounds.count, 8, "keys")
      for (key, values) in rounds { try bench.expect(values, (0..<25).map { "\($0)" }, "order within \(key)") }
    },
    Case("a partition can be chosen; one that is not there is refused") { bench in
      let topic = try await bench.topic("chosen", partitions: 3)
      try await bench.produce(topic, ["a", "b"], partition: 2)
      try bench.expect(try await bench.texts(in: topic, 2), ["a", "b"], "in the chosen partition")
      for wrong in [3, -1] {
        try await bench.expectError(.unknownTopic, what: "partition \(wrong) of 3") {
          try await bench.produce(topic, ["c"], partition: wrong)
        }
      }
    },
    Case("a value is passed on unchanged, whether it was loaded or not") { bench in
      let source = try await bench.topic("from")
      let target = try await bench.topic("to")
      let values = [String(repeating: "x", count: 50_000), "short", ""]
      try await bench.produce(source, values)
      for loads in [true, false] {
        let consumer = try await bench.join("g\(loads)", [source], loadsValues: loads)
        let records = try await bench.take(3, from: consumer)
        try await bench.settle(records, on: consumer, outputs: records.map { bench.copy(of: $0, to: target) })
      }
      try bench.expect(try await bench.texts(in: target), values + values, "values at the target")
      try await bench.broker.produce(try await bench.all(target).map { bench.copy(of: $0, to: source) })
      try bench.expect(try await bench.texts(in: source), values + values + values, "values produced again")
    },
  ]
}

public import Pipeline

extension KafkaBroker {
  /// How the partitions of a group are shared.
  public enum Assignor: String, Sendable {
    /// Only what moves stops. The group shares the partitions of its first topic (`cooperative-sticky`), and partition n
    /// of the others goes along with it.
    case cooperative
    /// Kafka's `range`: at every change all members give everything up, and get the most of it back.
    case range
  }

  /// What can be chosen.
  public struct Options: Sendable {
    /// `host:port`, several separated by commas.
    public var servers: String
    /// Any property of librdkafka, such as `security.protocol` and `sasl.password`.
    public var properties: [String: String] = [:]
    /// What a hop is: a transaction, or records that are appended before the group goes on.
    public var guarantee = Topology.Guarantee.exactlyOnce
    /// How many producers take turns with a member's transactions.
    public var rotation = 3
    /// What topics are made with: `replication` (by default 3, or as many as there are brokers), and any topic property
    /// of Kafka's that no promise rests on.
    public var topicProperties: [String: String] = [:]
    /// How often settled records are looked for that can be deleted, and whether topics are still there.
    public var careInterval = Duration.seconds(30)
    /// Hears of trouble in what this broker does by itself, such as deleting settled records.
    public var report: @Sendable (BrokerError) -> Void = { _ in }
    /// How the partitions of a group are shared.
    public var assignor = Assignor.cooperative
    /// How often a member says that it is alive, and hears of changes.
    public var heartbeat = Duration.milliseconds(500)
    /// How long a member may be silent before its partitions are given to others.
    public var sessionTimeout = Duration.seconds(10)
    /// How long a transaction may stay open: a dead node stalls readers that long.
    public var transactionTimeout = Duration.seconds(10)
    /// How long to wait for one answer.
    public var patience = Duration.seconds(10)
    /// The most bytes of a record with key and headers; topics are made to take that much.
    public var largestRecord = 4 << 20

    /// The usual ones.
    public init(servers: String) { self.servers = servers }
  }
}

extension KafkaBroker.Options {
  var patienceMilliseconds: Int { Int(clamping: patience.milliseconds) }

  /// Properties that exactly-once rests on: they are not left to the topology.
  private static let ours: Set<String> = [
    "bootstrap.servers", "group.id", "group.instance.id", "partition.assignment.strategy", "enable.auto.commit",
    "enable.auto.offset.store", "auto.offset.reset", "isolation.level", "transactional.id", "enable.idempotence",
    "acks", "allow.auto.create.topics", "enable.partition.eof", "check.crcs", "max.in.flight", inFlight,
  ]
  private static let inFlight = "max.in.flight.requests.per.connection"

  /// Refuses properties that are not for the topology to set.
  func check() throws(BrokerError) {
    if let name = properties.keys.sorted().first(where: Self.ours.contains) {
      throw BrokerError(
        .notPermitted, "kafka.\(name) cannot be set", hint: "what is promised between topics rests on it")
    }
    for name in topicProperties.keys.sorted() {
      guard let reason = TopicProperties.refusal(of: name) else { continue }
      throw BrokerError(.notPermitted, "topics.\(name) cannot be set", hint: reason)
    }
  }

  private func settings(_ own: [String: String]) -> [String: String] {
    var common = [
      "bootstrap.servers": servers, "client.id": "mailflow", "allow.auto.create.topics": "false",
      "socket.nagle.disable": "true", "log_level": "2", "compression.codec": "lz4",
      // What a producer has under way: beyond, callers wait. What waits at the same time is sent together anyway.
      "queue.buffering.max.kbytes": "65536", "linger.ms": "0",
      // What is kept ready of each partition; there are dozens.
      "queued.max.messages.kbytes": "1024", "fetch.message.max.bytes": "524288",
      // At 100, the default, every transaction that meets the last one's markers waits 100 ms.
      "retry.backoff.ms": "2", "topic.metadata.propagation.max.ms": "1000",
    ]
    // A broker that hangs, its connections open, is given up after that. (A transactional producer goes by the time that
    // its transactions may take.)
    if own["transactional.id"] == nil { common["socket.timeout.ms"] = "\(max(10, patienceMilliseconds))" }
    // What exactly-once rests on is not left to the properties.
    return common.merging(properties) { $1 }.merging(own) { $1 }
  }

  /// Of a member of a group.
  func member(_ membership: Membership) -> [String: String] {
    let revoking = membership.revokeDeadline.milliseconds
    return settings([
      "group.id": membership.group, "group.instance.id": membership.instance,
      "partition.assignment.strategy": assignor == .cooperative ? "cooperative-sticky" : "range",
      "enable.auto.commit": "false", "enable.auto.offset.store": "false", "auto.offset.reset": "error",
      "isolation.level": "read_committed", "check.crcs": "true", "fetch.wait.max.ms": "100",
      "session.timeout.ms": "\(sessionTimeout.milliseconds)", "heartbeat.interval.ms": "\(heartbeat.milliseconds)",
      "max.poll.interval.ms": "\(max(300_000, revoking * 2, sessionTimeout.milliseconds))",
    ])
  }

  /// Of what reads without a group. librdkafka wants a group's name all the same, and never uses it.
  var reader: [String: String] {
    settings([
      "group.id": "mailflow-reader", "enable.auto.commit": "false", "enable.auto.offset.store": "false",
      "auto.offset.reset": "error", "isolation.level": "read_committed", "enable.partition.eof": "true",
      "check.crcs": "true", "fetch.wait.max.ms": "10",
    ])
  }

  /// Of what reads the first records of many partitions: little of each.
  var headReader: [String: String] {
    reader.merging([
      "fetch.message.max.bytes": "65536", "fetch.max.bytes": "\(max(16 << 20, largestRecord + 1024))",
      "queued.min.messages": "1", "queued.max.messages.kbytes": "1024",
    ]) { $1 }
  }

  /// Of what asks: the end of a partition is that of what was appended, decided or not.
  ///
  /// The group's name is never used, but without one librdkafka 2.0.2 reads through a null pointer when the answer to a
  /// question about another group's offsets is that its coordinator has moved.
  ///
  /// A question to a leader that is gone waits for it as long as its socket may: the callers' patience is for several.
  var admin: [String: String] {
    settings([
      "isolation.level": "read_uncommitted", "group.id": "mailflow-reader",
      "socket.timeout.ms": "\(min(3000, max(10, patienceMilliseconds)))",
    ])
  }

  // Every record is reported, not only those that failed: librdkafka's flush, which a commit begins with, looks every
  // 10 ms whether all are written, unless a report wakes it.
  //
  // One request of a producer at a time. With more, a broker that has just become leader of a partition refuses the first
  // batch of ours and takes the second, since it accepts any sequence from a producer that it knows nothing of there;
  // and librdkafka takes an answer to a later batch for one to all before it: the first would count as written, and be
  // lost. A broker works on one request of a connection at a time anyway.

  /// Of a producer whose work is transactions.
  func producer(id: String) -> [String: String] {
    settings([
      Self.inFlight: "1",
      "transactional.id": id, "enable.idempotence": "true", "acks": "all",
      "message.max.bytes": "\(largestRecord + 1024)", "transaction.timeout.ms": "\(transactionTimeout.milliseconds)",
    ])
  }

  /// Of a producer that appends without transactions: nothing twice, nothing out of order. Who uses it gives up what is
  /// late: see `Appender`.
  var appender: [String: String] {
    settings([
      Self.inFlight: "1",
      "enable.idempotence": "true", "acks": "all", "message.max.bytes": "\(largestRecord + 1024)",
      "message.timeout.ms": "0",
    ])
  }
}

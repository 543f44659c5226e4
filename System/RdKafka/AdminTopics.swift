import CRdKafka

/// Topics: what there is, how it is set up, and changes to it.
extension AdminClient {
  /// A topic that exists, or why it cannot be described.
  public struct Topic: Sendable {
    /// Its name.
    public let name: String
    /// How many partitions it has.
    public let partitions: Int
    /// The least copies that one of its partitions is meant to have.
    public let replication: Int
    /// Whether every partition has a leader, which a new one lacks for a moment.
    public let isServed: Bool
    /// Why it could not be described.
    public let error: KafkaError?
  }

  /// A cluster, as one of its brokers sees it.
  public struct Cluster: Sendable {
    /// Numbers of the brokers that are there now.
    public let brokers: [Int32]
    /// Every topic, or the one that was asked for.
    public let topics: [Topic]
  }

  /// A topic to be made.
  public struct NewTopic: Sendable {
    /// Its name.
    public var name: String
    /// How many partitions.
    public var partitions: Int
    /// How many copies of each; -1 leaves it to the broker.
    public var replication: Int
    /// Its properties.
    public var properties: [String: String]

    /// A topic to be made.
    public init(name: String, partitions: Int, replication: Int, properties: [String: String]) {
      (self.name, self.partitions, self.replication, self.properties) = (name, partitions, replication, properties)
    }
  }

  // MARK: Asking

  /// The cluster with the topic of that name, or with all of them.
  public func cluster(topic name: String? = nil, milliseconds: Int) throws(KafkaError) -> Cluster {
    var topic: OpaquePointer?
    if let name {
      topic = rd_kafka_topic_new(client.raw, name, nil)
      if topic == nil { throw KafkaError(rd_kafka_last_error()) }
    }
    defer { if let topic { rd_kafka_topic_destroy(topic) } }
    var found: UnsafePointer<rd_kafka_metadata>?
    try KafkaError.check(
      rd_kafka_metadata(client.raw, name == nil ? 1 : 0, topic, &found, Int32(clamping: milliseconds)))
    guard let found else { return Cluster(brokers: [], topics: []) }
    defer { rd_kafka_metadata_destroy(found) }
    let brokers = (0..<Int(found.pointee.broker_cnt)).map { found.pointee.brokers[$0].id }
    let topics = (0..<Int(found.pointee.topic_cnt)).compactMap { Self.topic(found.pointee.topics[$0]) }
    return Cluster(brokers: brokers, topics: topics)
  }

  private static func topic(_ entry: rd_kafka_metadata_topic) -> Topic? {
    guard let name = entry.topic else { return nil }
    let partitions = (0..<Int(entry.partition_cnt)).map { entry.partitions[$0] }
    return Topic(
      name: String(cString: name), partitions: partitions.count,
      replication: partitions.map { Int($0.replica_cnt) }.min() ?? 0,
      isServed: partitions.allSatisfy { $0.leader >= 0 && $0.err == RD_KAFKA_RESP_ERR_NO_ERROR },
      error: entry.err == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(entry.err))
  }

  /// The properties of topics, those that nobody has set included; by topic. One that does not exist is left out.
  public func properties(ofTopics names: [String], milliseconds: Int) throws(KafkaError) -> [String: [String: String]] {
    try properties(RD_KAFKA_RESOURCE_TOPIC, names, milliseconds: milliseconds)
  }

  /// The properties of a broker.
  public func properties(ofBroker id: Int32, milliseconds: Int) throws(KafkaError) -> [String: String] {
    try properties(RD_KAFKA_RESOURCE_BROKER, ["\(id)"], milliseconds: milliseconds)["\(id)"] ?? [:]
  }

  private func properties(
    _ kind: rd_kafka_ResourceType_t, _ names: [String], milliseconds: Int
  ) throws(KafkaError) -> [String: [String: String]] {
    guard !names.isEmpty else { return [:] }
    var resources = names.map { rd_kafka_ConfigResource_new(kind, $0) }
    defer { for resource in resources { rd_kafka_ConfigResource_destroy(resource) } }
    return try ask(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, milliseconds) { options, queue in
      rd_kafka_DescribeConfigs(client.raw, &resources, resources.count, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      let result = rd_kafka_event_DescribeConfigs_result(event)
      guard let found = rd_kafka_DescribeConfigs_result_resources(result, &count) else { return [:] }
      var properties: [String: [String: String]] = [:]
      for index in 0..<count {
        let error = rd_kafka_ConfigResource_error(found[index])
        if error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART { continue }
        guard error == RD_KAFKA_RESP_ERR_NO_ERROR else {
          throw KafkaError(error, rd_kafka_ConfigResource_error_string(found[index]).map { String(cString: $0) })
        }
        var size = 0
        let entries = rd_kafka_ConfigResource_configs(found[index], &size)
        var values: [String: String] = [:]
        for number in 0..<size {
          guard let entry = entries?[number], let name = rd_kafka_ConfigEntry_name(entry),
            let value = rd_kafka_ConfigEntry_value(entry)
          else { continue }
          values[String(cString: name)] = String(cString: value)
        }
        if let name = rd_kafka_ConfigResource_name(found[index]) { properties[String(cString: name)] = values }
      }
      return properties
    }
  }

  // MARK: Changing

  /// Makes topics, in one request. Returns what was refused, by name; the others are made.
  public func create(_ topics: [NewTopic], milliseconds: Int) throws(KafkaError) -> [String: KafkaError] {
    var text = [CChar](repeating: 0, count: 512)
    var new: [OpaquePointer?] = []
    defer { for topic in new { rd_kafka_NewTopic_destroy(topic) } }
    for topic in topics {
      let made = rd_kafka_NewTopic_new(
        topic.name, Int32(clamping: topic.partitions), Int32(clamping: topic.replication), &text, text.count)
      guard let made else { throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, Client.string(text)) }
      for (name, value) in topic.properties { rd_kafka_NewTopic_set_config(made, name, value) }
      new.append(made)
    }
    return try ask(RD_KAFKA_ADMIN_OP_CREATETOPICS, milliseconds) { options, queue in
      rd_kafka_CreateTopics(client.raw, &new, new.count, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      return Self.refused(
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count), count)
    }
  }

  /// Deletes topics, in one request. Returns what was refused, by name.
  public func delete(_ topics: [String], milliseconds: Int) throws(KafkaError) -> [String: KafkaError] {
    var gone = topics.map { rd_kafka_DeleteTopic_new($0) }
    defer { for topic in gone { rd_kafka_DeleteTopic_destroy(topic) } }
    return try ask(RD_KAFKA_ADMIN_OP_DELETETOPICS, milliseconds) { options, queue in
      rd_kafka_DeleteTopics(client.raw, &gone, gone.count, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      return Self.refused(
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count), count)
    }
  }

  /// Gives topics more partitions, so many in all, in one request. Returns what was refused, by name.
  public func grow(_ topics: [String], to partitions: Int, milliseconds: Int) throws(KafkaError) -> [String: KafkaError]
  {
    var text = [CChar](repeating: 0, count: 512)
    var new: [OpaquePointer?] = []
    defer { for topic in new { rd_kafka_NewPartitions_destroy(topic) } }
    for topic in topics {
      guard let made = rd_kafka_NewPartitions_new(topic, partitions, &text, text.count) else {
        throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, Client.string(text))
      }
      new.append(made)
    }
    return try ask(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, milliseconds) { options, queue in
      rd_kafka_CreatePartitions(client.raw, &new, new.count, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      return Self.refused(
        rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &count), count)
    }
  }

  private static func refused(
    _ results: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int
  ) -> [String: KafkaError] {
    var refused: [String: KafkaError] = [:]
    for index in 0..<count {
      guard let result = results?[index], let name = rd_kafka_topic_result_name(result) else { continue }
      let code = rd_kafka_topic_result_error(result)
      if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        let words = rd_kafka_topic_result_error_string(result).map { String(cString: $0) }
        refused[String(cString: name)] = KafkaError(code, words)
      }
    }
    return refused
  }
}

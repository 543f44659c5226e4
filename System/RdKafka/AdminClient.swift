import CRdKafka

/// Questions about a cluster, and changes to its topics. Every call waits for its answer; one at a time.
public final class AdminClient {
  /// A topic that exists, or why it cannot be described.
  public struct Topic: Sendable {
    /// Its name.
    public let name: String
    /// How many partitions it has.
    public let partitions: Int
    /// Whether every partition has a leader, which a new one lacks for a moment.
    public let isServed: Bool
    /// Why it could not be described.
    public let error: KafkaError?
  }

  /// A member of a group.
  public struct Member: Sendable {
    /// Its static name; its client id if it has none.
    public let name: String
    /// What the group gave it.
    public let partitions: [PartitionOffset]
  }

  private let client: Client

  /// - Parameter settings: as of a consumer; `isolation.level` decides what counts as the end of a partition.
  public init(_ settings: [String: String]) throws(KafkaError) { client = try Client(RD_KAFKA_CONSUMER, settings) }

  // MARK: Topics

  /// Returns when a broker answers.
  public func ping(milliseconds: Int) throws(KafkaError) {
    var found: UnsafePointer<rd_kafka_metadata>?
    try KafkaError.check(rd_kafka_metadata(client.raw, 0, nil, &found, Int32(clamping: milliseconds)))
    if let found { rd_kafka_metadata_destroy(found) }
  }

  /// The topic of that name, or all of them.
  public func topics(named name: String? = nil, milliseconds: Int) throws(KafkaError) -> [Topic] {
    var topic: OpaquePointer?
    if let name {
      topic = rd_kafka_topic_new(client.raw, name, nil)
      if topic == nil { throw KafkaError(rd_kafka_last_error()) }
    }
    defer { if let topic { rd_kafka_topic_destroy(topic) } }
    var found: UnsafePointer<rd_kafka_metadata>?
    try KafkaError.check(
      rd_kafka_metadata(client.raw, name == nil ? 1 : 0, topic, &found, Int32(clamping: milliseconds)))
    guard let found else { return [] }
    defer { rd_kafka_metadata_destroy(found) }
    return (0..<Int(found.pointee.topic_cnt)).compactMap { index in
      let entry = found.pointee.topics[index]
      guard let name = entry.topic else { return nil }
      let count = Int(entry.partition_cnt)
      let isServed = (0..<count).allSatisfy {
        entry.partitions[$0].leader >= 0 && entry.partitions[$0].err == RD_KAFKA_RESP_ERR_NO_ERROR
      }
      return Topic(
        name: String(cString: name), partitions: count, isServed: isServed,
        error: entry.err == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(entry.err))
    }
  }

  /// Makes a topic with the broker's usual replication.
  public func create(
    topic: String, partitions: Int, configuration: [String: String], milliseconds: Int
  ) throws(KafkaError) {
    var text = [CChar](repeating: 0, count: 512)
    guard let new = rd_kafka_NewTopic_new(topic, Int32(clamping: partitions), -1, &text, text.count) else {
      throw KafkaError(
        RD_KAFKA_RESP_ERR__INVALID_ARG,
        String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
    defer { rd_kafka_NewTopic_destroy(new) }
    for (name, value) in configuration { rd_kafka_NewTopic_set_config(new, name, value) }
    try ask(RD_KAFKA_ADMIN_OP_CREATETOPICS, milliseconds) { options, queue in
      var topics: [OpaquePointer?] = [new]
      rd_kafka_CreateTopics(client.raw, &topics, 1, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      try Self.check(rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count), count)
    }
  }

  /// Deletes a topic.
  public func delete(topic: String, milliseconds: Int) throws(KafkaError) {
    guard let gone = rd_kafka_DeleteTopic_new(topic) else { return }
    defer { rd_kafka_DeleteTopic_destroy(gone) }
    try ask(RD_KAFKA_ADMIN_OP_DELETETOPICS, milliseconds) { options, queue in
      var topics: [OpaquePointer?] = [gone]
      rd_kafka_DeleteTopics(client.raw, &topics, 1, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      try Self.check(rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count), count)
    }
  }

  private static func check(
    _ results: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int
  ) throws(KafkaError) {
    guard let results else { return }
    for index in 0..<count {
      let code = rd_kafka_topic_result_error(results[index])
      if code != RD_KAFKA_RESP_ERR_NO_ERROR {
        throw KafkaError(code, rd_kafka_topic_result_error_string(results[index]).map { String(cString: $0) })
      }
    }
  }

  // MARK: Offsets

  /// The first offset that is kept and the one behind the last.
  ///
  /// By times that stand for the two: before librdkafka 2.3, the question that is meant for it goes on asking a leader
  /// that is none any more, without end.
  public func watermarks(
    topic: String, partition: Int, milliseconds: Int
  ) throws(KafkaError) -> (first: Int64, end: Int64) {
    func ask(_ place: Int32) throws(KafkaError) -> Int64 {
      try PartitionList.with([PartitionOffset(topic: topic, partition: partition, offset: Int64(place))]) {
        list throws(KafkaError) in
        try KafkaError.check(rd_kafka_offsets_for_times(client.raw, list, Int32(clamping: milliseconds)))
        try PartitionList.check(list)
        return PartitionList.read(list).first?.offset ?? 0
      }
    }
    let first = try ask(RD_KAFKA_OFFSET_BEGINNING)
    return (first, max(first, try ask(RD_KAFKA_OFFSET_END)))
  }

  /// The first offset at `time` (milliseconds since 1970) or later; nil if there is none.
  public func offset(
    topic: String, partition: Int, at time: Int64, milliseconds: Int
  ) throws(KafkaError) -> Int64? {
    let asked = [PartitionOffset(topic: topic, partition: partition, offset: time)]
    let found = try PartitionList.with(asked) { list throws(KafkaError) in
      try KafkaError.check(rd_kafka_offsets_for_times(client.raw, list, Int32(clamping: milliseconds)))
      try PartitionList.check(list)
      return PartitionList.read(list)
    }
    return found.first.flatMap { $0.offset >= 0 ? $0.offset : nil }
  }

  // MARK: Groups

  /// What the group has committed of these partitions, or altogether.
  ///
  /// - Throws: kind `unstableOffsets` while a transaction that commits some is being ended: ask again.
  public func committed(
    group: String, _ partitions: [PartitionOffset]?, milliseconds: Int
  ) throws(KafkaError) -> [PartitionOffset] {
    let asked =
      try partitions.map { partitions throws(KafkaError) in
        try PartitionList.with(partitions) { list in rd_kafka_ListConsumerGroupOffsets_new(group, list) }
      } ?? rd_kafka_ListConsumerGroupOffsets_new(group, nil)
    guard let question = asked else { return [] }
    defer { rd_kafka_ListConsumerGroupOffsets_destroy(question) }
    return try ask(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, milliseconds) { options, queue in
      if let error = rd_kafka_AdminOptions_set_require_stable_offsets(options, 1) { rd_kafka_error_destroy(error) }
      var questions: [OpaquePointer?] = [question]
      rd_kafka_ListConsumerGroupOffsets(client.raw, &questions, 1, options, queue)
    } answer: { event throws(KafkaError) in
      var count = 0
      let result = rd_kafka_event_ListConsumerGroupOffsets_result(event)
      guard let groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count) else { return [] }
      var found: [PartitionOffset] = []
      for index in 0..<count {
        if let error = rd_kafka_group_result_error(groups[index]) {
          throw KafkaError(rd_kafka_error_code(error), String(cString: rd_kafka_error_string(error)))
        }
        guard let list = rd_kafka_group_result_partitions(groups[index]) else { continue }
        try PartitionList.check(UnsafeMutablePointer(mutating: list))
        found += PartitionList.read(list).filter { $0.offset >= 0 }
      }
      return found
    }
  }

  /// The members of a group; none if there is no such group.
  public func members(group: String, milliseconds: Int) throws(KafkaError) -> [Member] {
    try ask(RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, milliseconds) { options, queue in
      group.withCString { name in
        var names: [UnsafePointer<CChar>?] = [name]
        rd_kafka_DescribeConsumerGroups(client.raw, &names, 1, options, queue)
      }
    } answer: { event throws(KafkaError) in
      var count = 0
      let result = rd_kafka_event_DescribeConsumerGroups_result(event)
      guard let groups = rd_kafka_DescribeConsumerGroups_result_groups(result, &count) else { return [] }
      var found: [Member] = []
      for index in 0..<count {
        if let error = rd_kafka_ConsumerGroupDescription_error(groups[index]),
          rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_NO_ERROR
        {
          throw KafkaError(rd_kafka_error_code(error), String(cString: rd_kafka_error_string(error)))
        }
        for number in 0..<rd_kafka_ConsumerGroupDescription_member_count(groups[index]) {
          let member = rd_kafka_ConsumerGroupDescription_member(groups[index], number)
          let name =
            rd_kafka_MemberDescription_group_instance_id(member) ?? rd_kafka_MemberDescription_client_id(member)
          let assignment = rd_kafka_MemberDescription_assignment(member)
          found.append(
            Member(
              name: name.map { String(cString: $0) } ?? "",
              partitions: assignment.map { PartitionList.read(rd_kafka_MemberAssignment_partitions($0)) } ?? []))
        }
      }
      return found
    }
  }

  // MARK: Asking

  private func ask<R>(
    _ kind: rd_kafka_admin_op_t, _ milliseconds: Int, question: (OpaquePointer?, OpaquePointer?) -> Void,
    answer: (OpaquePointer) throws(KafkaError) -> R
  ) throws(KafkaError) -> R {
    let options = rd_kafka_AdminOptions_new(client.raw, kind)
    defer { rd_kafka_AdminOptions_destroy(options) }
    rd_kafka_AdminOptions_set_request_timeout(options, Int32(clamping: milliseconds), nil, 0)
    let queue = rd_kafka_queue_new(client.raw)
    defer { rd_kafka_queue_destroy(queue) }
    question(options, queue)
    guard let event = rd_kafka_queue_poll(queue, Int32(clamping: milliseconds + 1000)) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
    defer { rd_kafka_event_destroy(event) }
    let error = rd_kafka_event_error(event)
    if error != RD_KAFKA_RESP_ERR_NO_ERROR {
      throw KafkaError(error, rd_kafka_event_error_string(event).map { String(cString: $0) })
    }
    return try answer(event)
  }
}

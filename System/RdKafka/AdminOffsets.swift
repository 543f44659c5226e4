import CRdKafka

/// Where partitions begin and end, and where groups stand in them.
extension AdminClient {
  /// A member of a group.
  public struct Member: Sendable {
    /// Its static name; its client id if it has none.
    public let name: String
    /// What the group gave it.
    public let partitions: [PartitionOffset]
  }

  // MARK: Partitions

  /// For each entry, whose `offset` is a time in milliseconds since 1970 (or `PartitionOffset.first` or `.end`), the
  /// first offset at that time or later; `PartitionOffset.end` if there is none. One request for every broker that leads
  /// some of them.
  public func offsets(at times: [PartitionOffset], milliseconds: Int) throws(KafkaError) -> [PartitionOffset] {
    var result: [PartitionOffset] = []
    result.reserveCapacity(times.count)
    // librdkafka looks for each answer's place from the beginning of the list.
    for start in stride(from: 0, to: times.count, by: 1000) {
      result += try PartitionList.with(Array(times[start..<min(start + 1000, times.count)])) {
        list throws(KafkaError) in
        try KafkaError.check(rd_kafka_offsets_for_times(client.raw, list, Int32(clamping: milliseconds)))
        try PartitionList.check(list)
        return PartitionList.read(list)
      }
    }
    return result
  }

  /// Deletes what is before the offsets, and returns the first ones that are left. Only as far as every replica that is
  /// in step has it.
  ///
  /// - Throws: the first error; other partitions may have been done.
  public func deleteRecords(
    before offsets: [PartitionOffset], milliseconds: Int
  ) throws(KafkaError) -> [PartitionOffset] {
    let wanted = try PartitionList.with(offsets) { list in rd_kafka_DeleteRecords_new(list) }
    guard let wanted else { return [] }
    defer { rd_kafka_DeleteRecords_destroy(wanted) }
    return try ask(RD_KAFKA_ADMIN_OP_DELETERECORDS, milliseconds) { options, queue in
      rd_kafka_AdminOptions_set_operation_timeout(options, Int32(clamping: milliseconds), nil, 0)
      var questions: [OpaquePointer?] = [wanted]
      rd_kafka_DeleteRecords(client.raw, &questions, 1, options, queue)
    } answer: { event throws(KafkaError) in
      let result = rd_kafka_event_DeleteRecords_result(event)
      guard let list = rd_kafka_DeleteRecords_result_offsets(result) else { return [] }
      try PartitionList.check(UnsafeMutablePointer(mutating: list))
      return PartitionList.read(list)
    }
  }

  // MARK: Groups

  /// Every group of the cluster that a broker has told of.
  public func groups(milliseconds: Int) throws(KafkaError) -> [String] {
    try ask(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, milliseconds) { options, queue in
      rd_kafka_ListConsumerGroups(client.raw, options, queue)
    } answer: { event throws(KafkaError) in
      let result = rd_kafka_event_ListConsumerGroups_result(event)
      var count = 0
      if let errors = rd_kafka_ListConsumerGroups_result_errors(result, &count), count > 0, let error = errors[0] {
        throw KafkaError(rd_kafka_error_code(error), String(cString: rd_kafka_error_string(error)))
      }
      guard let groups = rd_kafka_ListConsumerGroups_result_valid(result, &count) else { return [] }
      return (0..<count).compactMap { index in
        rd_kafka_ConsumerGroupListing_group_id(groups[index]).map { String(cString: $0) }
      }
    }
  }

  /// What the group has committed of these partitions, or altogether.
  ///
  /// - Parameter areStable: whether what a transaction that is being ended commits is waited for.
  /// - Throws: kind `unstableOffsets` while there is one: ask again.
  public func committed(
    group: String, _ partitions: [PartitionOffset]?, areStable: Bool = true, milliseconds: Int
  ) throws(KafkaError) -> [PartitionOffset] {
    let asked =
      try partitions.map { partitions throws(KafkaError) in
        try PartitionList.with(partitions) { list in rd_kafka_ListConsumerGroupOffsets_new(group, list) }
      } ?? rd_kafka_ListConsumerGroupOffsets_new(group, nil)
    guard let question = asked else { return [] }
    defer { rd_kafka_ListConsumerGroupOffsets_destroy(question) }
    return try ask(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, milliseconds, isCoordinated: true) { options, queue in
      if let error = rd_kafka_AdminOptions_set_require_stable_offsets(options, areStable ? 1 : 0) {
        rd_kafka_error_destroy(error)
      }
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
    try ask(RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, milliseconds, isCoordinated: true) { options, queue in
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
}

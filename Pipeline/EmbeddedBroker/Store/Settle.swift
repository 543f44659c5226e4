import Pipeline

extension BrokerStore {
  /// How far one partition is done, with the ids that the store goes by.
  struct Progress: Sendable {
    let partition: Int64
    let name: TopicPartition
    let slot: Int
    let generation: Int64
    let next: Int64
  }

  /// Appends outputs and moves the group on; refused as a whole if any partition belongs to somebody else by now.
  func settle(_ member: Member, _ progress: [Progress], _ outputs: [OutgoingRecord]) throws(BrokerError) {
    var moves: [(partition: Partition, next: Int64)] = []
    moves.reserveCapacity(progress.count)
    var checkedSlots: [(slot: Int, generation: Int64)] = []
    for step in progress {
      if !checkedSlots.contains(where: { $0.slot == step.slot && $0.generation == step.generation }) {
        guard try owns(member, step.slot, generation: step.generation) else {
          throw BrokerError(
            .fenced, "\(step.name) no longer belongs to this member under generation \(step.generation)")
        }
        checkedSlots.append((step.slot, step.generation))
      }
      let partition = try partition(step.partition, step.name)
      try loadPositions(partition)
      guard step.next >= 0, step.next <= partition.next else {
        throw BrokerError(
          .outOfRange, "\(step.name) ends at \(partition.next), and cannot be settled up to \(step.next)")
      }
      moves.append((partition, step.next))
    }
    if progress.isEmpty {
      let query = try connection.query("SELECT 1 FROM member WHERE id=?1")
      query.bindAll(member.id)
      guard try query.first() != nil else { throw BrokerError(.fenced, "this member is no longer in its group") }
    }
    let checked = try check(outputs)
    var given: [Int64] = []
    for (partition, next) in moves {
      let (before, after) = partition.given(after: next, by: member.group)
      if before < after { given += try contents(of: partition, from: before, to: after) }
    }
    let references = References(taken: checked.taken, given: given)
    try check(references)
    // Nothing was changed up to here; nothing is refused from here on.
    for (partition, next) in moves { try move(partition, to: next, by: member.group) }
    try apply(references)
    try append(outputs, checked)
  }

  private func move(_ partition: Partition, to next: Int64, by group: Int64) throws(BrokerError) {
    if let at = partition.positions.firstIndex(where: { $0.group == group }) {
      let before = partition.positions[at].next
      if let before, before > next { try keepGiven(partition) }
      partition.positions[at].next = next
      partition.settledSinceTrim += max(0, next - (before ?? 0))
    }
    let query = try connection.query(
      """
      INSERT INTO committed(partition,"group",next) VALUES(?1,?2,?3) ON CONFLICT DO UPDATE SET next=excluded.next
      """)
    query.bindAll(partition.id, group, next)
    try query.run()
    if partition.settledSinceTrim >= Self.trimStepSize { wantTrim(partition) }
  }
}

extension Partition {
  /// `given` now, and after `group` has moved to `next`.
  func given(after next: Int64, by group: Int64) -> (before: Int64, after: Int64) {
    let before = given
    guard topic.retention.kind == .untilSettled else { return (before, before) }
    var least = next
    for position in positions where position.group != group {
      guard let other = position.next else { return (before, before) }
      least = min(least, other)
    }
    return (before, max(before, least))
  }
}

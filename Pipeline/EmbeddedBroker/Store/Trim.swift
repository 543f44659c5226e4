import Pipeline

/// Deletes what nobody needs any more, in small steps within other people's transactions.
extension BrokerStore {
  /// The most rows that one step deletes.
  static let trimStepSize: Int64 = 1000

  /// Puts the partition in line.
  func wantTrim(_ partition: Partition) {
    partition.settledSinceTrim = 0
    if !trimQueue.contains(partition.id) { trimQueue.append(partition.id) }
  }

  /// One step for the partition whose turn it is; nothing if there is none.
  func trimNext() throws(BrokerError) {
    guard !trimQueue.isEmpty else { return }
    let id = trimQueue.removeFirst()
    guard let partition = try partition(id: id) else { return }
    if try trim(partition).isMore { trimQueue.append(id) }
    try deleteReleased()
  }

  /// Trims the next `limit` partitions of all, until a few steps' worth of rows are gone.
  func trimRound(limit: Int) throws(BrokerError) {
    let query = try connection.query("SELECT id FROM partition WHERE id>?1 ORDER BY id LIMIT ?2")
    query.bindAll(trimRound, Int64(limit))
    var ids: [Int64] = []
    while try query.step() { ids.append(query.int(0)) }
    var rows: Int64 = 0
    var isRoundOver = ids.count < limit
    for id in ids {
      trimRound = id
      guard let partition = try partition(id: id) else { continue }
      let (deleted, isMore) = try trim(partition)
      if isMore, !trimQueue.contains(id) { trimQueue.append(id) }
      rows += deleted
      if rows > 4 * Self.trimStepSize {
        isRoundOver = false
        break
      }
    }
    if isRoundOver { trimRound = 0 }
    try deleteReleased()
  }

  private func partition(id: Int64) throws(BrokerError) -> Partition? {
    if let partition = partitions[id] { return partition }
    let query = try connection.query(
      "SELECT t.name FROM partition p JOIN topic t ON t.id=p.topic WHERE p.id=?1")
    query.bindAll(id)
    guard try query.step() else { return nil }
    let name = query.text(0)
    query.reset()
    _ = try topic(name)
    return partitions[id]
  }

  /// Deletes at most a step of rows at the beginning.
  private func trim(_ partition: Partition) throws(BrokerError) -> (deleted: Int64, isMore: Bool) {
    let retention = partition.topic.retention
    guard retention.kind == .untilSettled || retention.kind == .time else { return (0, false) }
    try loadPositions(partition)
    guard let first = try partition.first() else { return (0, false) }
    var bound = partition.next
    if retention.kind == .untilSettled {
      guard let least = partition.leastSettled else { return (0, false) }
      bound = min(partition.given, least)
    }
    let end = min(bound, first + Self.trimStepSize)
    guard first < end else { return (0, false) }
    var cut = end
    if retention.window > 0 {
      let query = try partition.query(.firstSince)
      query.bindAll(first, end, clock.now.microseconds - retention.window + 1)
      cut = try query.first() ?? end
    }
    guard first < cut else { return (0, false) }
    if retention.kind == .time { try releaseContents(of: partition, from: max(first, partition.given), to: cut) }
    // The offsets that were given out are remembered even if no record is left to show them.
    let keep = try connection.query("UPDATE partition SET next=?2 WHERE id=?1")
    keep.bindAll(partition.id, partition.next)
    try keep.run()
    let delete = try partition.query(.delete)
    delete.bindAll(first, cut)
    try delete.run()
    return (cut - first, cut == end && end < bound)
  }

  /// Deletes released content whose time is over.
  private func deleteReleased() throws(BrokerError) {
    let limit = 500
    let query = try connection.query("SELECT content FROM released WHERE at<=?1 ORDER BY at LIMIT ?2")
    query.bindAll(clock.now.microseconds - (try releaseWindow()), Int64(limit))
    var contents: [Int64] = []
    while try query.step() { contents.append(query.int(0)) }
    for content in contents {
      try deleteContent(content)
      try run("DELETE FROM released WHERE content=?1", content)
    }
  }
}

extension Partition {
  /// The least that all groups have settled; nil if there is no group, or one has settled nothing.
  var leastSettled: Int64? {
    var least: Int64?
    for position in positions {
      guard let next = position.next else { return nil }
      least = min(least ?? next, next)
    }
    return least
  }
}

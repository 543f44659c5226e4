import Pipeline

/// Who is a member of which group, and who has which partition.
///
/// Partition n of all of a group's topics is one *slot*. Whoever joins, leaves or is missed computes in one transaction
/// who is to have each slot. A slot that nobody has is taken at once; one that a living member has is left to it until
/// it lets go, or until its new owner has waited long enough. Each change of hands raises the slot's generation.
extension BrokerStore {
  static let maximumMembers = 1000
  static let maximumTopics = 1000

  /// What a member knows of itself.
  struct Member: Sendable {
    let group: Int64
    let id: Int64
  }

  /// Partitions of the topics of a membership: for each slot, one a topic.
  struct Layout: Sendable {
    let slots: [[(id: Int64, name: TopicPartition)]]
  }

  func layout(_ membership: Membership) throws(BrokerError) -> Layout {
    guard !membership.topics.isEmpty, membership.topics.count <= Self.maximumTopics else {
      throw BrokerError(.mismatch, "group \(membership.group) is to read \(membership.topics.count) topics")
    }
    guard !membership.group.isEmpty, membership.group.utf8.count <= 1024, !membership.instance.isEmpty,
      membership.instance.utf8.count <= 1024
    else { throw BrokerError(.mismatch, "the names of a group and of a member have 1 to 1024 bytes") }
    var topics: [Topic] = []
    for name in membership.topics {
      let topic = try topic(name)
      if let first = topics.first, first.partitions.count != topic.partitions.count {
        throw BrokerError(
          .mismatch,
          "group \(membership.group): \(first.name) has \(first.partitions.count) partitions, "
            + "\(topic.name) has \(topic.partitions.count)",
          hint: "topics that one group reads have equal partition counts")
      }
      topics.append(topic)
    }
    let count = topics.first?.partitions.count ?? 0
    return Layout(
      slots: (0..<count).map { number in topics.map { ($0.partitions[number].id, $0.partitions[number].name) } })
  }

  /// Makes the caller a member, in place of one of the same name.
  func join(_ membership: Membership, session: Int64) throws(BrokerError) -> (member: Member, layout: Layout) {
    let layout = try layout(membership)
    try checkCount(membership)
    let group = try self.group(membership.group)
    for name in membership.topics { try subscribe(group, to: try topic(name)) }
    try keep(session)
    let id = try take("member")
    let old = try connection.query("DELETE FROM member WHERE \"group\"=?1 AND instance=?2")
    old.bind(1, group)
    old.bind(2, membership.instance)
    try old.run()
    let query = try connection.query("INSERT INTO member VALUES(?1,?2,?3,?4,?5,?6)")
    query.bind(1, id)
    query.bind(2, group)
    query.bind(3, membership.instance)
    query.bind(4, session)
    query.bind(5, layout.slots.count)
    query.bind(6, max(0, membership.revokeDeadline.microseconds))
    try query.run()
    try rebalance(group)
    return (Member(group: group, id: id), layout)
  }

  private func checkCount(_ membership: Membership) throws(BrokerError) {
    guard let group = try groupID(membership.group) else { return }
    let query = try connection.query("SELECT count(*) FROM member WHERE \"group\"=?1 AND instance<>?2")
    query.bind(1, group)
    query.bind(2, membership.instance)
    guard try query.first() ?? 0 < Int64(Self.maximumMembers) else {
      throw BrokerError(.tooLarge, "group \(membership.group) has \(Self.maximumMembers) members")
    }
  }

  private func group(_ name: String) throws(BrokerError) -> Int64 {
    if let id = try groupID(name) { return id }
    let query = try connection.query("INSERT INTO \"group\"(name,epoch) VALUES(?1,0)")
    query.bind(1, name)
    try query.run()
    return try groupID(name) ?? 0
  }

  func groupID(_ name: String) throws(BrokerError) -> Int64? {
    if let id = groups[name] { return id }
    let query = try connection.query("SELECT id FROM \"group\" WHERE name=?1")
    query.bind(1, name)
    let id = try query.first()
    groups[name] = id
    return id
  }

  /// From here on the topic keeps what this group has not settled.
  private func subscribe(_ group: Int64, to topic: Topic) throws(BrokerError) {
    let known = try connection.query("SELECT 1 FROM subscription WHERE topic=?1 AND \"group\"=?2")
    known.bindAll(topic.id, group)
    guard try known.first() == nil else { return }
    for partition in topic.partitions { try keepGiven(partition) }
    try run("INSERT INTO subscription(topic,\"group\") VALUES(?1,?2)", topic.id, group)
    for partition in topic.partitions { partition.positions.append((group, nil)) }
  }

  private func keep(_ session: Int64) throws(BrokerError) {
    try run("INSERT OR REPLACE INTO session VALUES(?1,?2)", session, clock.now.microseconds)
  }

  // MARK: Assigning

  /// Computes who is to have each slot, and gives away those that nobody has.
  private func rebalance(_ group: Int64) throws(BrokerError) {
    var members: [Int64] = []
    var slots = 0
    let query = try connection.query("SELECT id, slots FROM member WHERE \"group\"=?1 ORDER BY instance")
    query.bindAll(group)
    while try query.step() {
      members.append(query.int(0))
      slots = max(slots, Int(query.int(1)))
    }
    let targets = RangeAssignment.owners(slots: slots, members: members.count).map { members[$0] }
    let before = try self.slots(of: group)
    for number in 0..<max(targets.count, before.count) {
      let old = before.first { $0.number == number }
      let target = number < targets.count ? targets[number] : 0
      var owner = old?.owner ?? 0
      var generation = old?.generation ?? 0
      if owner != target, owner == 0 || !members.contains(owner) {
        owner = target
        if target != 0 { generation += 1 }
      }
      if let old, old.owner == owner, old.generation == generation, old.target == target { continue }
      try write(group, SlotRow(number: number, owner: owner, generation: generation, target: target))
    }
    try run("UPDATE \"group\" SET epoch=epoch+1 WHERE id=?1", group)
    if !touched.groups.contains(group) { touched.groups.append(group) }
  }

  struct SlotRow {
    let number: Int
    var owner: Int64
    var generation: Int64
    let target: Int64
  }

  private func slots(of group: Int64) throws(BrokerError) -> [SlotRow] {
    let query = try connection.query(
      "SELECT number, owner, generation, target FROM slot WHERE \"group\"=?1 ORDER BY number")
    query.bindAll(group)
    var result: [SlotRow] = []
    while try query.step() {
      result.append(
        SlotRow(number: Int(query.int(0)), owner: query.int(1), generation: query.int(2), target: query.int(3)))
    }
    return result
  }

  private func write(_ group: Int64, _ slot: SlotRow) throws(BrokerError) {
    let query = try connection.query("INSERT OR REPLACE INTO slot VALUES(?1,?2,?3,?4,?5)")
    query.bindAll(group, Int64(slot.number), slot.owner, slot.generation, slot.target)
    try query.run()
  }

  /// Whether `member` has the slot under this generation.
  func owns(_ member: Member, _ number: Int, generation: Int64) throws(BrokerError) -> Bool {
    let query = try connection.query("SELECT owner, generation FROM slot WHERE \"group\"=?1 AND number=?2")
    query.bindAll(member.group, Int64(number))
    guard try query.step() else { return false }
    defer { query.reset() }
    return query.int(0) == member.id && query.int(1) == generation
  }

  func epoch(of group: Int64) throws(BrokerError) -> Int64 {
    let query = try connection.query("SELECT epoch FROM \"group\" WHERE id=?1")
    query.bindAll(group)
    return try query.first() ?? 0
  }

  /// What a member has now, and waits for. Reads only.
  func assignment(_ member: Member, instance: String, _ layout: Layout) throws(BrokerError) -> Assignment {
    let epoch = try epoch(of: member.group)
    let query = try connection.query("SELECT id FROM member WHERE \"group\"=?1 AND instance=?2")
    query.bind(1, member.group)
    query.bind(2, instance)
    let present = try query.first()
    let standing: Assignment.Standing =
      switch present {
      case member.id?: .member
      case nil: .forgotten
      default: .replaced
      }
    var owned: [Assignment.Slot] = []
    var awaited: [Assignment.Awaited] = []
    var positions: [[Int64]] = []
    for slot in try slots(of: member.group) where standing == .member && slot.number < layout.slots.count {
      if slot.owner == member.id {
        owned.append(.init(number: slot.number, generation: slot.generation, isRevoked: slot.target != member.id))
        var begin: [Int64] = []
        for (id, name) in layout.slots[slot.number] { begin.append(try self.begin(of: id, name, member.group)) }
        positions.append(begin)
      } else if slot.target == member.id, slot.owner != 0 {
        let owner = try connection.query("SELECT patience FROM member WHERE id=?1")
        owner.bindAll(slot.owner)
        awaited.append(
          .init(number: slot.number, generation: slot.generation, patience: try owner.first() ?? 0))
      }
    }
    return Assignment(epoch: epoch, standing: standing, owned: owned, awaited: awaited, positions: positions)
  }

  /// Where a group goes on in a partition.
  private func begin(of id: Int64, _ name: TopicPartition, _ group: Int64) throws(BrokerError) -> Int64 {
    let query = try connection.query("SELECT next FROM committed WHERE partition=?1 AND \"group\"=?2")
    query.bindAll(id, group)
    if let next = try query.first() { return next }
    let partition = try partition(id, name)
    try loadPositions(partition)
    guard let first = try partition.first() else { return partition.next }
    let given = partition.given
    guard first < given else { return first }
    // Settled by all the others: only what is within the window for time travel is sure to have its content.
    let recent = try partition.query(.firstSince)
    recent.bindAll(first, given, clock.now.microseconds - partition.topic.retention.window + 1)
    return try recent.first() ?? given
  }

  /// Takes slots whose owners had their time. `generation` is the one that was waited for.
  func take(_ member: Member, _ awaited: [Assignment.Awaited]) throws(BrokerError) {
    var isChanged = false
    for slot in try slots(of: member.group) where slot.target == member.id && slot.owner != member.id {
      guard awaited.contains(where: { $0.number == slot.number && $0.generation == slot.generation }) else { continue }
      var slot = slot
      slot.owner = member.id
      slot.generation += 1
      try write(member.group, slot)
      isChanged = true
    }
    guard isChanged else { return }
    try run("UPDATE \"group\" SET epoch=epoch+1 WHERE id=?1", member.group)
    if !touched.groups.contains(member.group) { touched.groups.append(member.group) }
  }

  /// Gives slots up.
  func release(_ member: Member, _ released: [(number: Int, generation: Int64)]) throws(BrokerError) {
    var isChanged = false
    for slot in try slots(of: member.group) where slot.owner == member.id {
      guard released.contains(where: { $0.number == slot.number && $0.generation == slot.generation }) else { continue }
      var slot = slot
      slot.owner = 0
      try write(member.group, slot)
      isChanged = true
    }
    if isChanged { try rebalance(member.group) }
  }

  /// Leaves the group.
  func leave(_ member: Member) throws(BrokerError) {
    try run("DELETE FROM member WHERE id=?1", member.id)
    if connection.changes > 0 { try rebalance(member.group) }
  }

  // MARK: Sessions

  /// A process that has members, and when it last said so.
  struct Beat: Sendable, Equatable {
    let session: Int64
    let at: Int64
  }

  /// Says that this process is alive, and takes those off the lists that are not: `silent` ones have not changed their
  /// beat for as long as the caller watched. Returns the beats of the others.
  func beat(_ session: Int64, silent: [Beat]) throws(BrokerError) -> [Beat] {
    try keep(session)
    for beat in silent where beat.session != session {
      try run("DELETE FROM session WHERE id=?1 AND beat=?2", beat.session, beat.at)
      if connection.changes > 0 { try dropMembers(of: beat.session) }
    }
    let query = try connection.query("SELECT id, beat FROM session WHERE id<>?1 ORDER BY id")
    query.bindAll(session)
    var result: [Beat] = []
    while try query.step() { result.append(Beat(session: query.int(0), at: query.int(1))) }
    return result
  }

  /// Ends a session in good order.
  func end(_ session: Int64) throws(BrokerError) {
    try run("DELETE FROM session WHERE id=?1", session)
    try dropMembers(of: session)
  }

  private func dropMembers(of session: Int64) throws(BrokerError) {
    let query = try connection.query("SELECT DISTINCT \"group\" FROM member WHERE session=?1 ORDER BY 1")
    query.bindAll(session)
    var groups: [Int64] = []
    while try query.step() { groups.append(query.int(0)) }
    guard !groups.isEmpty else { return }
    try run("DELETE FROM member WHERE session=?1", session)
    for group in groups { try rebalance(group) }
  }

  // MARK: Looking

  /// Where a group stands.
  func committed(_ name: String) throws(BrokerError) -> [TopicPartition: Int64] {
    guard let group = try groupID(name) else { return [:] }
    let query = try connection.query(
      """
      SELECT t.name, p.number, c.next FROM subscription s JOIN topic t ON t.id=s.topic JOIN partition p ON p.topic=t.id
      JOIN committed c ON c.partition=p.id AND c."group"=s."group" WHERE s."group"=?1
      """)
    query.bindAll(group)
    var result: [TopicPartition: Int64] = [:]
    while try query.step() { result[TopicPartition(query.text(0), Int(query.int(1)))] = query.int(2) }
    return result
  }

  /// Who has which partition of a group.
  func members(_ name: String) throws(BrokerError) -> [TopicPartition: String?] {
    guard let group = try groupID(name) else { return [:] }
    let query = try connection.query(
      """
      SELECT t.name, p.number, m.instance FROM subscription s JOIN topic t ON t.id=s.topic
      JOIN partition p ON p.topic=t.id LEFT JOIN slot o ON o."group"=s."group" AND o.number=p.number
      LEFT JOIN member m ON m.id=o.owner WHERE s."group"=?1
      """)
    query.bindAll(group)
    var result: [TopicPartition: String?] = [:]
    while try query.step() {
      let instance: String? = query.isNull(2) ? nil : query.text(2)
      result.updateValue(instance, forKey: TopicPartition(query.text(0), Int(query.int(1))))
    }
    return result
  }
}

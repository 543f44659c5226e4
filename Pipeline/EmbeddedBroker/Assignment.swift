import Pipeline

/// Kafka's range assignment for topics of equal partition counts: member i of n, by name, gets a run of partitions.
enum RangeAssignment {
  /// For each of `slots` partitions, the index of the member that is to have it; `members` is at least 1.
  static func owners(slots: Int, members: Int) -> [Int] {
    guard members > 0 else { return [] }
    let each = slots / members
    let extra = slots % members
    var result: [Int] = []
    result.reserveCapacity(slots)
    for member in 0..<members { result += Array(repeating: member, count: each + (member < extra ? 1 : 0)) }
    return result
  }
}

/// What the store says about one member of a group.
struct Assignment: Sendable {
  /// Partition n of every topic that the group reads.
  struct Slot: Sendable, Equatable {
    let number: Int
    let generation: Int64
    /// It is to have another owner.
    let isRevoked: Bool
  }
  /// A slot that is to be this member's, and that somebody else still has.
  struct Awaited: Sendable, Equatable {
    let number: Int
    let generation: Int64
    /// How long its owner may keep it, in microseconds.
    let patience: Int64
  }
  enum Standing: Sendable, Equatable {
    case member
    /// Another one joined under the same name.
    case replaced
    /// Its process was silent for too long, and was taken off the list.
    case forgotten
  }

  let epoch: Int64
  let standing: Standing
  let owned: [Slot]
  let awaited: [Awaited]
  /// Where reading begins, for each owned slot: one offset a topic.
  let positions: [[Int64]]
}

/// What a member has to be told when its assignment changes: compares what it has with what the store says.
struct AssignmentChange: Equatable {
  /// What a member believes to have.
  struct Held: Equatable {
    let number: Int
    let generation: Int64
    /// It was told to give it up.
    let isRevoking: Bool
  }
  var lost: [Int] = []
  var revoking: [Int] = []
  /// Indices into `Assignment.owned`.
  var assigned: [Int] = []

  init(held: [Held], owned: [Assignment.Slot]) {
    for slot in held {
      guard let now = owned.first(where: { $0.number == slot.number && $0.generation == slot.generation }) else {
        lost.append(slot.number)
        continue
      }
      // Once told, a slot is given up even if its target has come back to this member: whoever was told is about to.
      if now.isRevoked, !slot.isRevoking { revoking.append(slot.number) }
    }
    for (index, slot) in owned.enumerated()
    where !held.contains(where: { $0.number == slot.number && $0.generation == slot.generation }) {
      assigned.append(index)
    }
  }
}

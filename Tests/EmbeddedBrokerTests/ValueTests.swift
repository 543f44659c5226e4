import Pipeline
import Testing

@testable import EmbeddedBroker

@Suite("Values", .timeLimit(.minutes(1)))
struct ValueTests {
  @Test(
    "range assignment",
    arguments: [
      (6, 1, [0, 0, 0, 0, 0, 0]), (6, 2, [0, 0, 0, 1, 1, 1]), (5, 2, [0, 0, 0, 1, 1]), (2, 3, [0, 1]), (0, 2, []),
      (3, 0, []),
    ])
  func range(_ slots: Int, _ members: Int, _ expected: [Int]) {
    #expect(RangeAssignment.owners(slots: slots, members: members) == expected)
  }

  @Test("what a member is told when its assignment changes")
  func change() {
    func held(_ number: Int, _ generation: Int64, _ isRevoking: Bool = false) -> AssignmentChange.Held {
      .init(number: number, generation: generation, isRevoking: isRevoking)
    }
    func owned(_ number: Int, _ generation: Int64, _ isRevoked: Bool = false) -> Assignment.Slot {
      .init(number: number, generation: generation, isRevoked: isRevoked)
    }
    let nothing = AssignmentChange(held: [held(0, 1)], owned: [owned(0, 1)])
    #expect(nothing.lost.isEmpty && nothing.revoking.isEmpty && nothing.assigned.isEmpty)
    #expect(AssignmentChange(held: [held(0, 1)], owned: []).lost == [0])
    #expect(AssignmentChange(held: [held(0, 1)], owned: [owned(0, 1, true)]).revoking == [0])
    #expect(AssignmentChange(held: [held(0, 1, true)], owned: [owned(0, 1, true)]).revoking == [], "told once")
    let regained = AssignmentChange(held: [held(0, 1)], owned: [owned(0, 3), owned(1, 1)])
    #expect(regained.lost == [0])
    #expect(regained.assigned == [0, 1], "under a later generation it is another assignment")
  }

  @Test("any changed bit changes the sum")
  func sum() {
    let bytes = (0..<61).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    func sum(_ bytes: [UInt8]) -> Int64 {
      var sum = Checksum()
      bytes.withUnsafeBytes { sum.add($0) }
      return sum.value
    }
    var seen: Set<Int64> = [sum(bytes), sum(bytes + [0]), sum(Array(bytes.dropLast()))]
    #expect(seen.count == 3)
    for index in bytes.indices {
      for bit in 0..<8 {
        var changed = bytes
        changed[index] ^= 1 << bit
        seen.insert(sum(changed))
      }
    }
    #expect(seen.count == 3 + 61 * 8)
  }

  @Test("references that come and go in one operation cancel out")
  func references() {
    #expect(BrokerStore.References(taken: [1, 2, 3], given: [1, 2, 3]).isEmpty)
    #expect(BrokerStore.References(taken: [3, 1, 2], given: [1, 2, 3]).isEmpty)
    let some = BrokerStore.References(taken: [1, 1, 2], given: [1, 3])
    #expect(some.changes.map(\.content) == [1, 2, 3])
    #expect(some.changes.map(\.by) == [1, 1, -1])
  }
}

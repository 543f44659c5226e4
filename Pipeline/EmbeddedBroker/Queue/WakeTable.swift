import Pipeline
import Synchronization

/// Something that waits for records or for its assignment.
protocol Sleeper: AnyObject, Sendable {
  /// There may be more in the partition.
  func wake(partition: Int64)
  /// The group's assignment may have changed.
  func wakeForAssignment()
  /// Anything may have changed.
  func wakeForAnything()
}

/// Who of this process waits for what, in the order in which they came.
final class WakeTable: Sendable {
  private struct State {
    var sleepers: [any Sleeper] = []
    var byPartition: [Int64: [any Sleeper]] = [:]
    var byGroup: [Int64: [any Sleeper]] = [:]
    var hearts: [Heart] = []
  }
  private let state = Mutex(State())

  func add(_ sleeper: any Sleeper, group: Int64, partitions: [Int64]) {
    state.withLock { state in
      state.sleepers.append(sleeper)
      state.byGroup[group, default: []].append(sleeper)
      for partition in partitions { state.byPartition[partition, default: []].append(sleeper) }
    }
  }

  func remove(_ sleeper: any Sleeper, group: Int64, partitions: [Int64]) {
    state.withLock { state in
      state.sleepers.removeAll { $0 === sleeper }
      Self.remove(sleeper, from: &state.byGroup, group)
      for partition in partitions { Self.remove(sleeper, from: &state.byPartition, partition) }
    }
  }

  private static func remove(_ sleeper: any Sleeper, from table: inout [Int64: [any Sleeper]], _ key: Int64) {
    table[key]?.removeAll { $0 === sleeper }
    if table[key]?.isEmpty == true { table[key] = nil }
  }

  /// Wakes those whom a commit concerns.
  func wake(_ touched: BrokerStore.Touched) {
    let (forRecords, forAssignment) = state.withLock { state in
      (
        touched.partitions.flatMap { id in (state.byPartition[id] ?? []).map { ($0, id) } },
        touched.groups.flatMap { state.byGroup[$0] ?? [] }
      )
    }
    for (sleeper, partition) in forRecords { sleeper.wake(partition: partition) }
    for sleeper in forAssignment { sleeper.wakeForAssignment() }
  }

  /// Another process has committed something.
  func wakeAll() {
    let all = state.withLock { $0.sleepers }
    for sleeper in all { sleeper.wakeForAnything() }
  }

  // MARK: Signs of life

  var hearts: [Heart] { state.withLock { $0.hearts } }
  func add(_ heart: Heart) { state.withLock { $0.hearts.append(heart) } }
  func remove(_ heart: Heart) { state.withLock { $0.hearts.removeAll { $0 === heart } } }

  /// Forgets everybody, as a crash does.
  func forgetAll() { state.withLock { $0 = State() } }
}

import Synchronization

/// What was made in this process and asked for lately, by name: it need not be made again.
///
/// Bounded: the younger half takes what is new or asked for again, and becomes the older half when it is full.
package final class Recent<Name: Hashable & Sendable, Value: Sendable>: Sendable {
  private struct State {
    var young: [Name: (value: Value, cost: Int)] = [:]
    var old: [Name: (value: Value, cost: Int)] = [:]
    var cost = 0  // of the young ones
  }
  private let state = Mutex(State())
  private let half: Int

  /// Keeps values of at most about `limit` bytes together.
  package init(limit: Int = 8 << 20) { half = limit / 2 }

  /// The value, if it is still kept.
  package func find(_ name: Name) -> Value? {
    state.withLock { state in
      if let found = state.young[name] { return found.value }
      guard let found = state.old.removeValue(forKey: name) else { return nil }
      keep(found.value, name, found.cost, &state)
      return found.value
    }
  }

  /// Keeps a value of `count` bytes, unless that is an eighth of the limit or more.
  package func keep(_ value: Value, _ name: Name, count: Int) {
    state.withLock { keep(value, name, count + 200, &$0) }
  }

  private func keep(_ value: Value, _ name: Name, _ cost: Int, _ state: inout State) {
    guard cost <= half / 4 else { return }
    state.cost += cost - (state.young.updateValue((value, cost), forKey: name)?.cost ?? 0)
    if state.cost > half { (state.old, state.young, state.cost) = (state.young, [:], 0) }
  }
}

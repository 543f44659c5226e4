/// What was made in this process and asked for lately, by name: it need not be made again.
///
/// Bounded: the younger half takes what is new or asked for again, and becomes the older half when it is full.
package struct Recent<Name: Hashable, Value> {
  // Inlinable, all of it, since names are hashed and compared much faster by who knows what they are.
  @usableFromInline var young: [Name: (value: Value, cost: Int)] = [:]
  @usableFromInline var old: [Name: (value: Value, cost: Int)] = [:]
  @usableFromInline var cost = 0  // of the young ones
  @usableFromInline let half: Int

  /// Keeps values of at most about `limit` bytes together.
  @inlinable
  package init(limit: Int = 8 << 20) { half = limit / 2 }

  /// The value, if it is still kept.
  @inlinable
  package mutating func find(_ name: Name) -> Value? {
    if let found = young[name] { return found.value }
    guard let found = old.removeValue(forKey: name) else { return nil }
    take(found.value, name, found.cost)
    return found.value
  }

  /// Keeps a value of `count` bytes, unless that is an eighth of the limit or more.
  @inlinable
  package mutating func keep(_ value: Value, _ name: Name, count: Int) { take(value, name, count + 200) }

  @inlinable
  mutating func take(_ value: Value, _ name: Name, _ count: Int) {
    guard count <= half / 4 else {
      cost -= young.removeValue(forKey: name)?.cost ?? 0
      old[name] = nil
      return
    }
    cost += count - (young.updateValue((value, count), forKey: name)?.cost ?? 0)
    if cost > half { (old, young, cost) = (young, [:], 0) }
  }
}

extension Recent: Sendable where Name: Sendable, Value: Sendable {}

import Pipeline

/// Checks, while one simulated process lives, that a stage starts messages in the order that its settings promise.
///
/// Among the messages of one key (order `key`) or of one partition (order `strict`) first attempts follow the offsets of
/// the stage's work topic, and no two are worked on at once. A retried message may be overtaken with `key`; with
/// `strict` it keeps its place.
struct OrderWatch {
  private struct Lane: Hashable {
    let stage: String
    let partition: Int
    let key: Bytes
  }
  private struct Place {
    let lane: Lane
    let offset: Int64
  }
  private var places: [String: Place] = [:]
  private var last: [Lane: Int64] = [:]
  private var active: [Lane: Int] = [:]
  private var tried: Set<String> = []

  /// A record of a work topic was handed to the process.
  mutating func delivered(_ record: Record, to stage: String, order: Topology.Order) {
    guard order != .none, let message = try? MessageCodec.decode(record, store: nil) else { return }
    let lane = Lane(
      stage: stage, partition: record.topicPartition.partition, key: order == .strict ? Bytes("") : message.key)
    places["\(stage) \(message.id)"] = Place(lane: lane, offset: record.offset)
  }

  /// A stage begins with a message; what is wrong with that, if something is.
  mutating func started(_ id: MessageID, at stage: String, order: Topology.Order) -> String? {
    guard let place = places["\(stage) \(id)"] else { return nil }
    active[place.lane, default: 0] += 1
    if active[place.lane, default: 0] > 1 { return "\(stage) works on two messages of \(place.lane.key) at once" }
    let before = last[place.lane] ?? -1
    last[place.lane] = max(before, place.offset)
    if order == .strict || tried.insert("\(stage) \(id)").inserted, place.offset < before {
      return "\(stage) began offset \(place.offset) of partition \(place.lane.partition) after \(before)"
    }
    return nil
  }

  /// A stage is done with a message, one way or another.
  mutating func ended(_ id: MessageID, at stage: String) {
    if let place = places["\(stage) \(id)"] { active[place.lane, default: 1] -= 1 }
  }
}

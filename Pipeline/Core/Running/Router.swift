/// Decides where a message belongs, from what is done and skipped alone: never from the topic that it was found in.
///
/// So an order that changed while it waited neither leaves a stage out nor repeats one.
public struct Router: Sendable {
  private let topology: Topology

  /// Routes by `topology`.
  public init(_ topology: Topology) { self.topology = topology }

  /// What a stage does with a message that it finds in one of its topics.
  public enum Placement: Sendable, Equatable {
    /// It is its turn.
    case process
    /// It belongs to another stage; nil: it has passed them all.
    case move(String?)
    /// It is its turn, but a stage that it needs was skipped or is gone.
    case needs(String)
    /// Its flow is not in the topology any more.
    case noFlow
  }

  /// Where `message`, found in a topic of `stage`, belongs.
  public func place(_ message: Message, at stage: String) -> Placement {
    guard let flow = topology[flow: message.flow] else { return .noFlow }
    let done = message.done
    let skipped = message.skipped
    let next = flow.stages.first { !done.contains($0.name) && !skipped.contains($0.name) }
    guard let next, next.name == stage else { return .move(next?.name) }
    if let missing = next.needs.first(where: { !done.contains($0) }) { return .needs(missing) }
    return .process
  }

  /// The first stage that `message` has neither passed nor skipped; nil at the end.
  public func next(_ message: Message) -> String? {
    guard let flow = topology[flow: message.flow] else { return nil }
    let done = message.done
    let skipped = message.skipped
    return flow.stages.first { !done.contains($0.name) && !skipped.contains($0.name) }?.name
  }

  /// The stages that a jump from `stage` to `target` leaves out.
  public func skipped(from stage: String, to target: String, in flow: String) -> [String] {
    guard let stages = topology[flow: flow]?.stages.map(\.name), let start = stages.firstIndex(of: stage),
      let end = stages.firstIndex(of: target), start < end
    else { return [] }
    return Array(stages[(start + 1)..<end])
  }
}

/// Decides where a message belongs, from what is done and skipped alone: never from the topic that it was found in.
///
/// So an order that changed while it waited neither leaves a stage out nor repeats one.
public struct Router: Sendable {
  /// What a hop needs to know of a flow, made once.
  private final class Table: Sendable {
    struct Entry: Sendable {
      let name: String
      let needs: [String]
      let workTopic: String
    }
    let flow: String
    let entries: [Entry]

    init(_ flow: Topology.Flow, _ topology: Topology) {
      self.flow = flow.name
      entries = flow.stages.map {
        Entry(name: $0.name, needs: $0.needs, workTopic: topology.topics(flow.name, $0).work)
      }
    }

    /// The first stage that the message has neither passed nor skipped.
    func next(_ message: Message) -> Entry? {
      let index = message.headers.withBytes(HeaderName.done) { done in
        message.headers.withBytes(HeaderName.skipped) { skipped in
          // By index: a copy of an entry counts references that all threads share.
          entries.indices.first {
            !NameList.contains(entries[$0].name, in: done) && !NameList.contains(entries[$0].name, in: skipped)
          }
        }
      }
      return index.map { entries[$0] }
    }
  }
  private let tables: [Table]

  /// Routes by `topology`.
  public init(_ topology: Topology) { tables = topology.flows.map { Table($0, topology) } }

  private func table(of message: Message) -> Table? {
    message.headers.withBytes(HeaderName.flow) { flow in tables.first { $0.flow.utf8.elementsEqual(flow) } }
  }

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
    guard let table = table(of: message) else { return .noFlow }
    guard let next = table.next(message), next.name == stage else { return .move(table.next(message)?.name) }
    guard !next.needs.isEmpty else { return .process }
    let done = message.done
    if let missing = next.needs.first(where: { !done.contains($0) }) { return .needs(missing) }
    return .process
  }

  /// The first stage that `message` has neither passed nor skipped; nil at the end.
  public func next(_ message: Message) -> String? { table(of: message)?.next(message)?.name }

  /// The work topic of that stage; nil at the end.
  func nextTopic(_ message: Message) -> String? { table(of: message)?.next(message)?.workTopic }

  /// The stages that a jump from `stage` to `target` leaves out.
  public func skipped(from stage: String, to target: String, in flow: String) -> [String] {
    guard let stages = tables.first(where: { $0.flow == flow })?.entries.map(\.name),
      let start = stages.firstIndex(of: stage),
      let end = stages.firstIndex(of: target), start < end
    else { return [] }
    return Array(stages[(start + 1)..<end])
  }
}

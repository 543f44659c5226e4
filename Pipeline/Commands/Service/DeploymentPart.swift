public import Pipeline

/// Which gateways and stages of a deployment run here: all of them by default, what `run` names otherwise.
public struct DeploymentPart: Sendable {
  /// The gateways, in the topology's order.
  public let gateways: [Topology.Gateway]
  /// The stages, flow by flow.
  public let stages: [StageName]
  /// The same as options of a command line; empty for everything.
  let options: [String]

  /// The options that name a part.
  static let options: [Command.Option] = [
    .value("stages", "NAMES", "Stages to run, with commas between them: `store`, `inbound.store`, or `all`."),
    .value("gateways", "NAMES", "Gateways to run, with commas between them, or `all`."),
    .value("node", "NAME", "What the topology's `nodes` says that this kind of machine runs."),
  ]

  /// The part that the arguments name; everything if they name nothing.
  ///
  /// - Throws: a usage error for a name that the topology does not have.
  init(_ arguments: Arguments, of topology: Topology) throws(ServiceError) {
    if let name = arguments.value("node") {
      guard !arguments.has("stages"), !arguments.has("gateways") else {
        throw ServiceError(.usage, "--node says which stages and gateways run: leave --stages and --gateways out")
      }
      let node = try Self.node(name, topology)
      gateways = topology.gateways.filter { node.gateways.contains($0.name) }
      stages = node.stages
      options = ["--node", name]
      return
    }
    guard arguments.has("stages") || arguments.has("gateways") else {
      (gateways, stages, options) = (topology.gateways, topology.stageNames, [])
      return
    }
    var options: [String] = []
    for name in ["stages", "gateways"] {
      if let value = arguments.value(name) { options += ["--\(name)", value] }
    }
    self.options = options
    gateways = try Self.select(arguments.value("gateways"), of: topology.gateways, kind: "gateway") { [$0.name] }
    stages = try Self.select(arguments.value("stages"), of: topology.stageNames, kind: "stage") { $0.words }
  }

  private static func node(_ name: String, _ topology: Topology) throws(ServiceError) -> Topology.Node {
    if let node = topology.nodes.first(where: { $0.name == name }) { return node }
    let names = topology.nodes.map(\.name)
    let nearest = Suggestion.nearest(to: name, among: names).map { "did you mean `\($0)`?" }
    throw ServiceError(
      .usage, "the topology has no node `\(name)`",
      hint: names.isEmpty
        ? "write `nodes: {\(name): {gateways: […], stages: […]}}`"
        : nearest ?? "it has \(names.joined(separator: ", "))")
  }

  private static func select<Item>(
    _ text: String?, of items: [Item], kind: String, names: (Item) -> [String]
  ) throws(ServiceError) -> [Item] {
    guard let text, text != "all" else { return text == nil ? [] : items }
    var wanted: Set<String> = []
    for word in text.split(separator: ",").map({ String($0.filter { $0 != " " }) }) {
      guard items.contains(where: { names($0).contains(word) }) else {
        let known = items.flatMap(names)
        let nearest = Suggestion.nearest(to: word, among: known)
        throw ServiceError(
          .usage, "the topology has no \(kind) `\(word)`",
          hint: nearest.map { "did you mean `\($0)`?" } ?? "it has \(known.joined(separator: ", "))")
      }
      wanted.insert(word)
    }
    return items.filter { !wanted.isDisjoint(with: names($0)) }
  }
}

/// Draws a topology. The pictures are made from the model, so they are never out of date.
public enum TopologyGraph {
  /// What to draw for.
  public enum Format: String, Sendable, CaseIterable {
    /// A terminal.
    case text
    /// A page that renders Mermaid.
    case mermaid
    /// Graphviz.
    case dot
  }

  /// The picture, without a line end at its end.
  public static func render(_ topology: Topology, as format: Format) -> String {
    switch format {
    case .text: text(topology)
    case .mermaid: mermaid(topology)
    case .dot: dot(topology)
    }
  }

  private static func text(_ topology: Topology) -> String {
    topology.flows.map { flow in
      var lines = ["\(flow.name)  ← \(flow.sources.isEmpty ? "other flows" : flow.sources.joined(separator: ", "))"]
      for (index, stage) in flow.stages.enumerated() {
        let topics = topology.topics(flow.name, stage)
        lines.append("  \(index == 0 ? "│" : "▼")  \(topics.work)")
        let use = stage.use == stage.name ? "" : " (\(stage.use))"
        lines.append(
          "  [\(stage.name)]\(use)  retry \(stage.retry.map(DurationText.short).joined(separator: " ")), give up \(DurationText.short(stage.giveUp))"
        )
        for (outcome, target) in stage.on.sorted(by: { $0.key < $1.key }) {
          lines.append("     └ \(outcome) → \(target.text)")
        }
      }
      return lines.joined(separator: "\n")
    }.joined(separator: "\n\n")
  }

  private static func mermaid(_ topology: Topology) -> String {
    var lines = ["flowchart LR"]
    for flow in topology.flows {
      for source in flow.sources {
        lines.append("  \(id(source))([\(source)]) --> \(id(flow.name, flow.stages.first?.name ?? ""))")
      }
      for (stage, next) in zip(flow.stages, flow.stages.dropFirst()) {
        lines.append("  \(id(flow.name, stage.name))[\(stage.name)] --> \(id(flow.name, next.name))[\(next.name)]")
      }
      if flow.stages.count == 1, let only = flow.stages.first {
        lines.append("  \(id(flow.name, only.name))[\(only.name)]")
      }
      for stage in flow.stages {
        for (outcome, target) in stage.on.sorted(by: { $0.key < $1.key }) {
          lines.append("  \(id(flow.name, stage.name)) -. \(outcome) .-> \(node(target, flow, topology))")
        }
      }
    }
    return lines.joined(separator: "\n")
  }

  private static func dot(_ topology: Topology) -> String {
    var lines = ["digraph \"\(topology.name)\" {", "  rankdir=LR;", "  node [shape=box];"]
    for flow in topology.flows {
      for source in flow.sources {
        lines.append("  \(id(source)) [label=\"\(source)\", shape=ellipse];")
        lines.append("  \(id(source)) -> \(id(flow.name, flow.stages.first?.name ?? ""));")
      }
      for stage in flow.stages { lines.append("  \(id(flow.name, stage.name)) [label=\"\(stage.name)\"];") }
      for (stage, next) in zip(flow.stages, flow.stages.dropFirst()) {
        lines.append("  \(id(flow.name, stage.name)) -> \(id(flow.name, next.name));")
      }
      for stage in flow.stages {
        for (outcome, target) in stage.on.sorted(by: { $0.key < $1.key }) {
          lines.append(
            "  \(id(flow.name, stage.name)) -> \(node(target, flow, topology)) [label=\"\(outcome)\", style=dashed];")
        }
      }
    }
    return (lines + ["}"]).joined(separator: "\n")
  }

  private static func id(_ words: String...) -> String {
    words.joined(separator: "_").map { $0 == "-" ? "_" : String($0) }.joined()
  }

  private static func node(_ target: Topology.Target, _ flow: Topology.Flow, _ topology: Topology) -> String {
    switch target {
    case .stage(let name): id(flow.name, name)
    case .flow(let name): id(name, topology[flow: name]?.stages.first?.name ?? "")
    case .deadLetter: "dead_letter"
    case .drop: "drop"
    case .bounce: "bounce"
    }
  }

}

extension Topology.Target {
  /// In words, such as `flow outbound`.
  var text: String {
    switch self {
    case .stage(let name): name
    case .flow(let name): "flow \(name)"
    case .deadLetter: "dead-letter"
    case .drop: "drop"
    case .bounce: "bounce"
    }
  }
}

import YAML

/// What has to hold between the parts of a topology, when each part by itself is well-formed.
struct TopologyRules {
  let topology: Topology
  let vocabulary: Vocabulary
  let marks: [StageName: Mark]
  let root: Node
  private(set) var complaints: [OptionReader.Complaint] = []

  init(_ topology: Topology, _ vocabulary: Vocabulary, _ marks: [StageName: Mark], _ root: Node) {
    self.topology = topology
    self.vocabulary = vocabulary
    self.marks = marks
    self.root = root
  }

  mutating func check() {
    checkSources()
    checkCycles()
    for flow in topology.flows {
      for stage in flow.stages { check(stage, in: flow) }
      checkBeforeAccept(flow)
    }
  }

  private func mark(_ flow: String, _ stage: String) -> Mark {
    marks[StageName(flow: flow, stage: stage)] ?? root.mark
  }

  /// Each flow is fed by somebody, and each source feeds one flow.
  private mutating func checkSources() {
    var fed: [String: String] = [:]
    let routed = topology.flows.flatMap { $0.stages.flatMap { Array($0.on.values) } }
    for flow in topology.flows {
      let node = root["flows"]?[flow.name]
      let position = node?["from"]?.mark ?? node?.mark ?? root.mark
      for source in flow.sources {
        let kinds = vocabulary.gateways
        if let kind = kinds.first(where: { $0.name == source }) {
          if !kind.isSource {
            complaints.append((position, "gateway `\(source)` puts no messages in", nil))
          } else if !topology.gateways.contains(where: { $0.name == source }) {
            complaints.append((position, "`from` names gateway `\(source)`, which `gateways` does not have", nil))
          }
        } else if !kinds.isEmpty {
          let names = kinds.filter(\.isSource).map(\.name)
          complaints.append(
            (position, "there is no gateway `\(source)`", OptionReader.didYouMean(source, among: names)))
        }
        if let other = fed.updateValue(flow.name, forKey: source) {
          complaints.append((position, "`\(source)` feeds flow `\(other)` already", nil))
        }
      }
      if flow.sources.isEmpty, !routed.contains(.flow(flow.name)) {
        complaints.append(
          (position, "nothing feeds flow `\(flow.name)`", "give it a gateway with `from`, or lead an outcome to it"))
      }
    }
  }

  /// Flows that lead into each other would multiply messages without end.
  private mutating func checkCycles() {
    var leads: [String: Set<String>] = [:]
    for flow in topology.flows {
      for target in flow.stages.flatMap({ Array($0.on.values) }) {
        if case .flow(let name) = target { leads[flow.name, default: []].insert(name) }
      }
    }
    for flow in topology.flows {
      var reached: Set<String> = []
      var open = leads[flow.name] ?? []
      while let next = open.popFirst() {
        if reached.insert(next).inserted { open.formUnion(leads[next] ?? []) }
      }
      if reached.contains(flow.name) {
        complaints.append(
          (root["flows"]?[flow.name]?.mark ?? root.mark, "flow `\(flow.name)` leads back into itself", nil))
      }
    }
  }

  /// What is tried before accepting leaves nothing behind, and finds what it needs.
  private mutating func checkBeforeAccept(_ flow: Topology.Flow) {
    guard let node = root["flows"]?[flow.name]?["before-accept"], !flow.beforeAccept.isEmpty else { return }
    if flow.sources.isEmpty {
      complaints.append((node.mark, "`before-accept` of flow `\(flow.name)`, which has no client that waits", nil))
    }
    var seen: Set<String> = []
    for (index, name) in flow.beforeAccept.enumerated() {
      guard let stage = flow[name], let entry = vocabulary.stages[stage.use] else { continue }
      let position = node.items?[index].mark ?? node.mark
      if !seen.insert(name).inserted {
        complaints.append((position, "`before-accept` names `\(name)` twice", nil))
      }
      if !entry.onlyJudges {
        let names = flow.stages.filter { vocabulary.stages[$0.use]?.onlyJudges == true }.map { "`\($0.name)`" }
        complaints.append(
          (
            position, "stage `\(name)` cannot be tried before accepting: it does more than judge",
            names.isEmpty ? nil : "of flow `\(flow.name)`, \(names.joined(separator: ", ")) can"
          ))
      }
      for need in stage.needs where !flow.beforeAccept.contains(need) {
        complaints.append(
          (position, "stage `\(name)` needs `\(need)`, which `before-accept` does not name", "name both"))
      }
    }
  }

  private mutating func check(_ stage: Topology.StageSettings, in flow: Topology.Flow) {
    let position = mark(flow.name, stage.name)
    let names = flow.stages.map(\.name)
    guard let own = names.firstIndex(of: stage.name) else { return }
    for need in stage.needs {
      guard let place = names.firstIndex(of: need) else {
        complaints.append(
          (
            position, "stage `\(stage.name)` needs `\(need)`, which flow `\(flow.name)` does not have",
            Suggestion.nearest(to: need, among: names).map { "did you mean `\($0)`?" }
          ))
        continue
      }
      if place >= own {
        complaints.append(
          (position, "stage `\(stage.name)` needs `\(need)`, which comes behind it", "change the order"))
      }
      for jump in flow.stages[..<min(place, own)] {
        for (outcome, target) in jump.on.sorted(by: { $0.key < $1.key }) {
          guard case .stage(let name) = target, let end = names.firstIndex(of: name), end > place, end <= own else {
            continue
          }
          complaints.append(
            (position, "stage `\(stage.name)` needs `\(need)`, which outcome `\(jump.name).\(outcome)` skips", nil))
        }
      }
    }
    let topics = topology.topics(flow.name, stage)
    if let long = (topics.consumed + [topics.suspect]).first(where: { $0.utf8.count > 200 }) {
      complaints.append((position, "topic name \(long.prefix(40))… is longer than 200 bytes", nil))
    }
  }
}

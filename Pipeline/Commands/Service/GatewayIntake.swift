public import Pipeline

extension GatewayContext {
  /// Where the gateway `source` hands messages in; nil if no flow names it in `from`.
  ///
  /// What the flow names in `before-accept` is tried in this process, noted in a journal: a stage that takes the gateways
  /// down with it is not tried again before the next `up`, and its messages go to the queue, where they are dealt with.
  ///
  /// - Throws: whatever a stage throws when it is made.
  public func intake(of source: String) throws -> Intake? {
    guard let flow = topology.flows.first(where: { $0.sources.contains(source) }) else { return nil }
    return Intake(
      source: source, topology: topology, broker: broker, clock: clock, random: SystemRandom(),
      contentStore: contentStore, beforeAccept: try beforeAccept(flow))
  }

  private func beforeAccept(_ flow: Topology.Flow) throws -> BeforeAccept? {
    guard !flow.beforeAccept.isEmpty else { return nil }
    let excluded = Set((DataFolder.read(folder.notBeforeAccept) ?? "").split(separator: "\n").map(String.init))
    for stage in flow.stages where excluded.contains(topology.topics(flow.name, stage).group) {
      log.write(
        .error, "a stage took the gateways down: it is not tried before accepting until the next start",
        ("flow", flow.name), ("stage", stage.name))
    }
    return try BeforeAccept(
      flow, of: topology, stages: stages(), dataFolder: folder.path, contentStore: contentStore, clock: clock,
      random: SystemRandom(), log: log, excluded: excluded, journal: journal)
  }
}

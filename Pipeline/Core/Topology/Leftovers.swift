/// Topics that belong to stages and delays which a topology does not name any more. They may still hold messages, and
/// are consumed until they are empty.
struct Leftovers: Sendable {
  /// Stages that are gone, with what is known of them: partitions and retry delays.
  private(set) var stages: [(name: StageName, settings: Topology.StageSettings)] = []
  private var retryTopics: [StageName: [String]] = [:]

  /// What of `existing`, the broker's topics, `topology` does not name.
  init(_ topology: Topology, existing: [TopicDescription]) {
    for topic in existing {
      let words = topic.name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
      guard words.count == 3, words[0] == topology.name else { continue }
      if let dot = words[2].firstIndex(of: ".") {
        let stage = String(words[2][..<dot])
        guard words[2][dot...].hasPrefix(".retry."), let settings = topology[flow: words[1]]?[stage] else { continue }
        let known = topology.topics(words[1], settings).retry
        if known.contains(where: { $0.topic == topic.name }) { continue }
        retryTopics[StageName(flow: words[1], stage: stage), default: []].append(topic.name)
      } else if topology[flow: words[1]]?[words[2]] == nil {
        var settings = Topology.StageSettings(words[2])
        settings.partitions = topic.partitions
        let prefix = "\(topic.name).retry."
        settings.retry = existing.compactMap { other in
          other.name.hasPrefix(prefix) ? DurationText.parse(String(other.name.dropFirst(prefix.count))) : nil
        }.sorted()
        stages.append((StageName(flow: words[1], stage: words[2]), settings))
      }
    }
  }

  /// Retry topics of delays that a stage does not have any more.
  func retryTopics(of stage: StageName) -> [String] { retryTopics[stage] ?? [] }
}

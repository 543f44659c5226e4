import Pipeline
import RdKafka

/// Topics: what there is, and changes to it.
extension Questions {
  /// The most topics and partitions that one request makes: the controller takes 10,000 changes at once.
  private static let chunk = (topics: 200, partitions: 2000)

  /// The topics of these names that exist and can be described.
  private func found(_ names: Set<String>) throws(BrokerError) -> (
    brokers: [Int32], topics: [String: AdminClient.Topic]
  ) {
    // One name is asked for alone: a cluster may have thousands of topics.
    let only = names.count == 1 ? names.first : nil
    return try ask("topics") { admin throws(KafkaError) in
      let cluster = try admin.cluster(topic: only, milliseconds: patience)
      var topics: [String: AdminClient.Topic] = [:]
      for topic in cluster.topics where names.contains(topic.name) {
        if let error = topic.error {
          if error.kind == .unknownTopic { continue }
          throw error
        }
        topics[topic.name] = topic
      }
      return (cluster.brokers, topics)
    }
  }

  /// Those of the topics that exist.
  func existing(_ names: Set<String>) throws(BrokerError) -> [TopicDescription] {
    guard !names.isEmpty else { return [] }
    return try found(names).topics.values.map { TopicDescription(name: $0.name, partitions: $0.partitions) }
      .sorted { $0.name < $1.name }
  }

  func topics(prefix: String) throws(BrokerError) -> [TopicDescription] {
    try ask("topics") { admin throws(KafkaError) in
      try admin.cluster(milliseconds: patience).topics.filter { $0.name.hasPrefix(prefix) && $0.error == nil }
        .map { TopicDescription(name: $0.name, partitions: $0.partitions) }
        .sorted { $0.name < $1.name }
    }
  }

  // MARK: Making

  /// Makes topics and waits until all their partitions are served. Returns the names of those that were made.
  @discardableResult
  func create(_ topics: [TopicSpecification]) throws(BrokerError) -> [String] {
    let names = Set(topics.map(\.name))
    let (brokers, known) = try found(names)
    let setup = TopicSetup(options: options, brokers: brokers.count)
    try refuse(differences(topics, known, setup).filter(\.isHarmful))
    var rest = topics.filter { known[$0.name] == nil }.map(setup.new)[...]
    let isNothingNew = rest.isEmpty && known.values.allSatisfy(\.isServed)
    var made: [String] = []
    while !rest.isEmpty {
      var request = [rest.removeFirst()]
      var partitions = request[0].partitions
      while let next = rest.first, request.count < Self.chunk.topics,
        partitions + next.partitions <= Self.chunk.partitions
      {
        request.append(rest.removeFirst())
        partitions += next.partitions
      }
      made += try make(request)
    }
    if isNothingNew { return [] }
    let served = try waitUntilServed(names)
    // Somebody else may have made one at the same time.
    try refuse(
      topics.flatMap { topic in served[topic.name].map { setup.differences(topic, $0, [:]) } ?? [] }
        .filter(\.isHarmful))
    return made
  }

  private func make(_ topics: [AdminClient.NewTopic]) throws(BrokerError) -> [String] {
    let refused = try ask("create topics") { admin throws(KafkaError) in
      try admin.create(topics, milliseconds: patience * 6)
    }
    for (name, error) in refused.sorted(by: { $0.key < $1.key }) where error.kind != .topicExists {
      let error = BrokerError(error, "create \(name)")
      throw BrokerError(
        error.kind, error.message, hint: error.hint ?? "`topics` of the topology says what topics are made with")
    }
    return topics.map(\.name).filter { refused[$0] == nil }
  }

  /// Waits until all leaders are known, and they know of it.
  private func waitUntilServed(
    _ names: Set<String>, partitions: Int? = nil
  ) throws(BrokerError) -> [String: AdminClient.Topic] {
    let served = try wait("the topics to be served", options.patience * 6) {
      () throws(BrokerError) -> [String: AdminClient.Topic]? in
      let topics = try found(names).topics
      let areServed = topics.values.allSatisfy { $0.isServed && $0.partitions == partitions ?? $0.partitions }
      return topics.count == names.count && areServed ? topics : nil
    }
    let places = served.values.flatMap { topic in
      (0..<topic.partitions).map { PartitionOffset(topic: topic.name, partition: $0, offset: PartitionOffset.end) }
    }
    _ = try offsets(places, grace: options.patience)
    return served
  }

  private func refuse(_ differences: [TopicDifference]) throws(BrokerError) {
    guard let first = differences.first else { return }
    let more = differences.dropFirst().prefix(4).map { "; \($0)" }.joined()
    let rest = differences.count > 5 ? "; and \(differences.count - 5) more" : ""
    throw BrokerError(.mismatch, "\(first)\(more)\(rest)", hint: first.remedy)
  }

  // MARK: Looking

  /// What existing topics, and the cluster, have otherwise than they should.
  func inspect(_ topics: [TopicSpecification]) throws(BrokerError) -> [TopicDifference] {
    let (brokers, known) = try found(Set(topics.map(\.name)))
    let setup = TopicSetup(options: options, brokers: brokers.count)
    let ofTopics = try differences(topics, known, setup)
    guard let broker = brokers.first else { return ofTopics }
    let properties = try ask("settings of broker \(broker)") { admin throws(KafkaError) -> [String: String] in
      do throws(KafkaError) { return try admin.properties(ofBroker: broker, milliseconds: patience) } catch {
        // Not everybody may look at the brokers' own.
        guard error.kind == .notPermitted else { throw error }
        return [:]
      }
    }
    return ofTopics + setup.differences(ofBroker: properties)
  }

  private func differences(
    _ topics: [TopicSpecification], _ known: [String: AdminClient.Topic], _ setup: TopicSetup
  ) throws(BrokerError) -> [TopicDifference] {
    let names = Set(topics.map(\.name)).filter { known[$0] != nil }.sorted()
    var properties: [String: [String: String]] = [:]
    for start in stride(from: 0, to: names.count, by: Self.chunk.topics) {
      let part = Array(names[start..<min(start + Self.chunk.topics, names.count)])
      let found = try ask("settings of topics") { admin throws(KafkaError) -> [String: [String: String]] in
        try admin.properties(ofTopics: part, milliseconds: patience)
      }
      properties.merge(found) { $1 }
    }
    return topics.flatMap { topic in
      known[topic.name].map { setup.differences(topic, $0, properties[topic.name] ?? [:]) } ?? []
    }
  }

  // MARK: Changing

  func grow(_ names: [String], to partitions: Int) throws(BrokerError) {
    let (_, known) = try found(Set(names))
    for name in names {
      guard let topic = known[name] else { throw BrokerError(.unknownTopic, "there is no topic \(name)") }
      guard topic.partitions <= partitions else {
        throw BrokerError(
          .mismatch, "topic \(name) has \(topic.partitions) partitions, and cannot have \(partitions)",
          hint: "a topic never gets fewer")
      }
    }
    let smaller = names.filter { known[$0].map { $0.partitions < partitions } ?? false }
    guard !smaller.isEmpty else { return }
    let refused = try ask("grow topics") { admin throws(KafkaError) in
      try admin.grow(smaller, to: partitions, milliseconds: patience * 6)
    }
    // The one before a time-out may have done it.
    let grown = try found(Set(smaller)).topics
    for (name, error) in refused.sorted(by: { $0.key < $1.key }) where grown[name]?.partitions != partitions {
      throw BrokerError(error, "grow \(name)")
    }
    _ = try waitUntilServed(Set(smaller), partitions: partitions)
  }

  /// Deletes topics, and waits until they are gone, and what these groups had committed of them with them: the broker
  /// forgets that a little later, and a new topic of the same name must not meet it.
  func delete(_ topics: [String], readBy groups: [String]) throws(BrokerError) {
    guard !topics.isEmpty else { return }
    let refused = try ask("delete topics") { admin throws(KafkaError) in
      try admin.delete(topics, milliseconds: patience)
    }
    for (name, error) in refused.sorted(by: { $0.key < $1.key }) where error.kind != .unknownTopic {
      throw BrokerError(error, "delete \(name)")
    }
    try wait("topics \(topics) to be gone") { () throws(BrokerError) -> Void? in
      try existing(Set(topics)).isEmpty ? () : nil
    }
    for group in groups { try waitUntilForgotten(topics, by: group) }
  }

  func waitUntilForgotten(_ topics: [String], by group: String) throws(BrokerError) {
    try wait("group \(group) to forget \(topics)") { () throws(BrokerError) -> Void? in
      try committed(group).keys.contains { topics.contains($0.topic) } ? nil : ()
    }
  }
}

import Pipeline
import RdKafka

/// How topics are set up, and what an existing one has otherwise. Decisions only.
struct TopicSetup {
  let options: KafkaBroker.Options
  /// How many brokers the cluster has now.
  let brokers: Int

  /// How many copies of each partition there are to be: more are safe only where there are brokers for them.
  var replication: Int {
    options.topicProperties[TopicProperties.replication].flatMap { Int($0) } ?? max(1, min(3, brokers))
  }

  /// How many copies have to have a record before it counts.
  private var leastInSync: Int {
    options.topicProperties["min.insync.replicas"].flatMap { Int($0) } ?? (replication >= 3 ? 2 : 1)
  }

  private var largestBatch: Int { options.largestRecord + 1024 }

  /// A topic as it is to be made.
  func new(_ topic: TopicSpecification) -> AdminClient.NewTopic {
    var properties = [
      "min.insync.replicas": "\(leastInSync)", "unclean.leader.election.enable": "false",
      // Deleting frees whole segments only, and never the one that is written to: Kafka's own 1 GiB and 7 days would keep
      // that much of what is settled, in each partition.
      "segment.bytes": "\(128 << 20)", "segment.ms": "86400000",
    ]
    properties.merge(options.topicProperties) { $1 }
    properties[TopicProperties.replication] = nil
    properties["max.message.bytes"] = "\(largestBatch)"
    properties["message.timestamp.type"] = "LogAppendTime"
    switch topic.retention {
    case .untilSettled, .unlimited: properties["retention.ms"] = "-1"
    case .time(let duration): properties["retention.ms"] = "\(duration.milliseconds)"
    case .compacted: break
    }
    if case .compacted = topic.retention {
      properties["cleanup.policy"] = "compact"
    } else {
      properties["cleanup.policy"] = "delete"
      properties["retention.bytes"] = "-1"
    }
    return AdminClient.NewTopic(
      name: topic.name, partitions: topic.partitions, replication: replication, properties: properties)
  }

  /// What an existing topic has otherwise than it should.
  func differences(
    _ topic: TopicSpecification, _ found: AdminClient.Topic, _ properties: [String: String]
  ) -> [TopicDifference] {
    var result: [TopicDifference] = []
    func differs(_ property: String, _ wanted: String, remedy: String? = nil, _ is: String? = nil, harmful: Bool = true)
    {
      let command =
        "kafka-configs.sh --bootstrap-server \(options.servers) --alter --entity-type topics --entity-name "
        + "\(topic.name) --add-config \(property)=\(wanted)"
      result.append(
        TopicDifference(
          topic: topic.name, property: property, found: `is` ?? properties[property] ?? "unknown", wanted: wanted,
          remedy: remedy ?? command, isHarmful: harmful))
    }
    func number(_ property: String) -> Int? { properties[property].flatMap { Int($0) } }

    if found.partitions != topic.partitions {
      differs(
        "partitions", "\(topic.partitions)",
        remedy: found.partitions < topic.partitions
          ? "stop every node, and run `grow`: it adds them (or write `partitions: \(found.partitions)`)"
          : "a topic never gets fewer: write `partitions: \(found.partitions)`, or use another name for the stage",
        "\(found.partitions)")
    }
    let isCompacted = topic.retention == .compacted
    let policy = isCompacted ? "compact" : "delete"
    if let found = properties["cleanup.policy"], found != policy { differs("cleanup.policy", policy) }
    if !isCompacted {
      if let bytes = number("retention.bytes"), bytes >= 0 { differs("retention.bytes", "-1") }
      if let type = properties["message.timestamp.type"], type != "LogAppendTime" {
        differs("message.timestamp.type", "LogAppendTime")
      }
    }
    switch topic.retention {
    case .untilSettled, .unlimited:
      if let time = number("retention.ms"), time >= 0 { differs("retention.ms", "-1") }
    case .time(let duration):
      if let time = number("retention.ms"), time >= 0, time < duration.milliseconds {
        differs("retention.ms", "\(duration.milliseconds)")
      }
    case .compacted: break
    }
    if let size = number("max.message.bytes"), size < largestBatch { differs("max.message.bytes", "\(largestBatch)") }

    if found.replication < replication {
      differs(
        "replication", "\(replication)", remedy: "kafka-reassign-partitions.sh; see docs/kafka.md",
        "\(found.replication)", harmful: false)
    }
    if let least = number("min.insync.replicas"), least < min(leastInSync, max(1, found.replication - 1)) {
      differs("min.insync.replicas", "\(leastInSync)", harmful: false)
    }
    if properties["unclean.leader.election.enable"] == "true", found.replication > 1 {
      differs("unclean.leader.election.enable", "false", harmful: false)
    }
    return result
  }

  /// What the cluster's own settings endanger.
  func differences(ofBroker properties: [String: String]) -> [TopicDifference] {
    var result: [TopicDifference] = []
    func differs(_ property: String, _ wanted: String, _ why: String) {
      result.append(
        TopicDifference(
          topic: nil, property: property, found: properties[property] ?? "unknown", wanted: wanted,
          remedy: "\(why); set it in server.properties of every broker", isHarmful: false))
    }
    if let minutes = properties["offsets.retention.minutes"].flatMap({ Int($0) }), minutes < 30 * 24 * 60 {
      differs(
        "offsets.retention.minutes", "at least \(30 * 24 * 60)",
        "a group that rests longer forgets where it stood, and does again what is still kept")
    }
    if brokers > 1 {
      for property in ["offsets.topic.replication.factor", "transaction.state.log.replication.factor"] {
        let wanted = min(3, brokers)
        if let copies = properties[property].flatMap({ Int($0) }), copies < wanted {
          differs(property, "\(wanted)", "one broker that goes takes what groups and transactions have noted with it")
        }
      }
    }
    return result
  }
}

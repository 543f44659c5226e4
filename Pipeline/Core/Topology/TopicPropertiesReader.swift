import YAML

/// `topics:` of a topology: what Kafka topics are made with beside what the stages say.
package enum TopicProperties {
  /// How many copies of each partition there are; the one name here that is none of Kafka's.
  package static let replication = "replication"

  /// Why the topology may not set a property; nil: it may.
  package static func refusal(of name: String) -> String? {
    switch name {
    case "cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms":
      "what waits must not expire; `window` says how long settled records are kept"
    case "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms":
      "the window for time travel goes by the broker's time"
    case "max.message.bytes": "it follows from the largest record"
    case "unclean.leader.election.enable": "a leader that lacks records would lose mail that was accepted"
    case "partitions", "num.partitions": "`partitions` of `defaults` or of a stage says it"
    default: nil
    }
  }
}

extension TopologyReader {
  /// Reads `topics: {replication: N, NAME: VALUE…}`.
  mutating func topicProperties() -> [String: String] {
    guard let node = root["topics"], !node.isNull else { return [:] }
    guard let entries = node.entries else {
      options.complain(node.mark, "`topics` has to be a mapping of Kafka's topic properties, found \(node.kindName)")
      return [:]
    }
    for entry in entries { checkTopicProperty(entry, entry.key) }
    var properties: [String: String] = [:]
    collect(entries, "", into: &properties)
    let copies = properties[TopicProperties.replication].flatMap { Int($0) }
    if let least = properties["min.insync.replicas"].flatMap({ Int($0) }), let copies, least > copies {
      options.complain(
        node.mark, "`min.insync.replicas` is \(least), and there are \(copies) replicas: nothing could be written",
        "it is usually one less than `replication`")
    }
    return properties
  }

  private mutating func checkTopicProperty(_ entry: Node.Entry, _ name: String) {
    if let inner = entry.value.entries {
      for entry in inner { checkTopicProperty(entry, "\(name).\(entry.key)") }
    } else if let reason = TopicProperties.refusal(of: name) {
      options.complain(entry.keyMark, "`topics` cannot set `\(name)`", reason)
    } else if name == TopicProperties.replication || name == "min.insync.replicas" {
      _ = options.value(entry.value, .integer(1...100), "`\(name)`")
    }
  }
}

import YAML

/// Replaces `${NAME}` and `${NAME:-default}` in the scalars of a tree; `$${` stands for `${`.
struct EnvironmentExpansion {
  let environment: [String: String]
  var problems: [(mark: Mark, message: String, hint: String?)] = []

  init(_ environment: [String: String]) { self.environment = environment }

  mutating func expand(_ node: Node) -> Node {
    switch node.value {
    case .scalar(let text, let isPlain):
      guard text.contains("${") else { return node }
      return Node(.scalar(expand(text, node.mark), isPlain: isPlain), mark: node.mark)
    case .sequence(let items):
      var expanded: [Node] = []
      for item in items { expanded.append(expand(item)) }
      return Node(.sequence(expanded), mark: node.mark)
    case .mapping(let entries):
      var expanded: [Node.Entry] = []
      for entry in entries {
        expanded.append(Node.Entry(key: entry.key, keyMark: entry.keyMark, value: expand(entry.value)))
      }
      return Node(.mapping(expanded), mark: node.mark)
    }
  }

  private mutating func expand(_ text: String, _ mark: Mark) -> String {
    var result = ""
    var rest = text[...]
    while let start = rest.range(of: "${") {
      if start.lowerBound > rest.startIndex, rest[rest.index(before: start.lowerBound)] == "$" {
        result += rest[..<start.lowerBound].dropLast() + "${"
        rest = rest[start.upperBound...]
        continue
      }
      result += rest[..<start.lowerBound]
      rest = rest[start.upperBound...]
      guard let end = rest.firstIndex(of: "}") else {
        problems.append((mark, "`${` without `}`", "write $${ for the text ${"))
        return result
      }
      let inside = rest[..<end]
      rest = rest[rest.index(after: end)...]
      let parts = inside.range(of: ":-").map { (String(inside[..<$0.lowerBound]), String(inside[$0.upperBound...])) }
      let name = parts?.0 ?? String(inside)
      if let value = environment[name], parts == nil || !value.isEmpty {
        result += value
      } else if let parts {
        result += parts.1
      } else {
        problems.append((mark, "environment variable \(name) is not set", "set it, or write ${\(name):-default}"))
      }
    }
    return result + rest
  }
}

extension Substring {
  /// The first place where `needle` stands.
  fileprivate func range(of needle: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
      start = index(after: start)
    }
    return nil
  }
}

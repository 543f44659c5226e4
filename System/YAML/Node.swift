/// A place in a YAML text: line and column, 1 and up.
public struct Mark: Sendable, Hashable {
  /// 1 and up.
  public let line: Int
  /// 1 and up, in characters.
  public let column: Int
  /// A place.
  public init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }
}

/// A mistake in a YAML text.
public struct Problem: Sendable, Hashable {
  /// Where.
  public let mark: Mark
  /// What.
  public let message: String
}

/// A value in a YAML text, with where it stands.
public struct Node: Sendable {
  /// What it is.
  public indirect enum Value: Sendable {
    /// A text; `isPlain` without quotes, so that it may also mean a number or a boolean.
    case scalar(String, isPlain: Bool)
    /// A list.
    case sequence([Node])
    /// Keys with values, in order.
    case mapping([Entry])
  }

  /// A key with its value.
  public struct Entry: Sendable {
    /// The key.
    public let key: String
    /// Where the key stands.
    public let keyMark: Mark
    /// Its value.
    public let value: Node
    /// A key with its value.
    public init(key: String, keyMark: Mark, value: Node) {
      self.key = key
      self.keyMark = keyMark
      self.value = value
    }
  }

  /// What it is.
  public let value: Value
  /// Where it begins.
  public let mark: Mark
  /// Nodes in it, aliases counted in full.
  let weight: Int

  /// A value made in code.
  public init(_ value: Value, mark: Mark) {
    self.init(value, mark: mark, weight: 1)
  }
  init(_ value: Value, mark: Mark, weight: Int) {
    self.value = value
    self.mark = mark
    self.weight = weight
  }

  /// The value of a key; nil if it is no mapping, or has no such key.
  public subscript(key: String) -> Node? { entries?.first { $0.key == key }?.value }
  /// Its text; nil if it is no scalar.
  public var string: String? { if case .scalar(let text, _) = value { text } else { nil } }
  /// Its items; nil if it is no list.
  public var items: [Node]? { if case .sequence(let items) = value { items } else { nil } }
  /// Its entries; nil if it is no mapping.
  public var entries: [Entry]? { if case .mapping(let entries) = value { entries } else { nil } }
  /// Whether it says nothing: an empty plain scalar, `~` or `null`.
  public var isNull: Bool {
    if case .scalar(let text, true) = value { text.isEmpty || text == "~" || text == "null" } else { false }
  }
  /// For messages: `a text`, `a list`, `a mapping`, `nothing`.
  public var kindName: String {
    switch value {
    case .scalar: isNull ? "nothing" : "a text"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }

  /// The tree with the value at `path` (keys of mappings) replaced, or put in with the mappings that lead to it.
  public func setting(_ path: ArraySlice<String>, to new: Node) -> Node {
    guard let key = path.first else { return new }
    var entries = self.entries ?? []
    if let index = entries.firstIndex(where: { $0.key == key }) {
      let old = entries[index]
      entries[index] = Entry(key: key, keyMark: old.keyMark, value: old.value.setting(path.dropFirst(), to: new))
    } else {
      let empty = Node(.mapping([]), mark: new.mark)
      entries.append(Entry(key: key, keyMark: new.mark, value: empty.setting(path.dropFirst(), to: new)))
    }
    return Node(.mapping(entries), mark: mark)
  }
}

import CYAML

/// A YAML text as a tree, with every mistake that could be found.
public struct Document: Sendable {
  /// The tree; nil for an empty text, or one that could not be read to its end.
  public let root: Node?
  /// In order of the text.
  public let problems: [Problem]

  /// What a text may be at most.
  public struct Limits: Sendable {
    /// In bytes.
    public var bytes = 1 << 20
    /// Values, aliases counted in full.
    public var nodes = 100_000
    /// Lists and mappings within each other.
    public var depth = 64
    /// The defaults.
    public init() {}
  }

  /// Reads one document of YAML 1.1 as libyaml understands it. Never fails: what is wrong is in `problems`.
  ///
  /// After a mistake of syntax libyaml cannot go on; duplicate keys, unknown aliases and the like are all found.
  public init(_ text: String, limits: Limits = Limits()) {
    var text = text
    guard text.utf8.count <= limits.bytes else {
      root = nil
      problems = [Problem(mark: Mark(line: 1, column: 1), message: "larger than \(limits.bytes) bytes")]
      return
    }
    var builder = Builder(limits)
    root = text.withUTF8 { builder.read($0) }
    problems = builder.problems
  }
}

private struct Stop: Error {}

private struct Builder {
  let limits: Document.Limits
  var problems: [Problem] = []
  private var event = yaml_event_t()
  private var anchors: [String: Node] = [:]
  private var openAnchors: Set<String> = []
  private var total = 0

  init(_ limits: Document.Limits) { self.limits = limits }

  mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) -> Node? {
    // The parser points at itself, so it must not move.
    let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
    defer { parser.deallocate() }
    guard yaml_parser_initialize(parser) == 1 else {
      problems.append(Problem(mark: Mark(line: 1, column: 1), message: "out of memory"))
      return nil
    }
    defer { yaml_parser_delete(parser) }
    var nothing: UInt8 = 0
    return withUnsafePointer(to: &nothing) { nothing in
      yaml_parser_set_input_string(parser, bytes.baseAddress ?? nothing, bytes.count)
      yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
      defer { yaml_event_delete(&event) }
      return try? document(parser, bytes)
    }
  }

  private mutating func document(
    _ parser: UnsafeMutablePointer<yaml_parser_t>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(Stop) -> Node? {
    try next(parser, bytes)
    try next(parser, bytes)
    guard event.type == YAML_DOCUMENT_START_EVENT else { return nil }
    try next(parser, bytes)
    let root = try node(parser, bytes, depth: 0)
    try next(parser, bytes)
    try next(parser, bytes)
    if event.type == YAML_DOCUMENT_START_EVENT { report(event.start_mark, "a second document; one is allowed") }
    return root
  }

  private mutating func report(_ mark: yaml_mark_t, _ message: String) {
    problems.append(Problem(mark: Mark(mark), message: message))
  }

  private mutating func next(
    _ parser: UnsafeMutablePointer<yaml_parser_t>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(Stop) {
    yaml_event_delete(&event)
    guard yaml_parser_parse(parser, &event) == 1 else {
      let state = parser.pointee
      var message = state.problem.map { String(cString: $0) } ?? "cannot be read"
      if let context = state.context {
        message += " " + String(cString: context) + " from line \(state.context_mark.line + 1)"
      }
      if state.error == YAML_READER_ERROR {
        // Bad bytes come with an offset only.
        problems.append(Problem(mark: Mark(offset: state.problem_offset, in: bytes), message: message))
      } else {
        report(state.problem_mark, message)
      }
      throw Stop()
    }
  }

  private mutating func count(_ weight: Int) throws(Stop) {
    total += weight
    guard total <= limits.nodes else {
      report(event.start_mark, "more than \(limits.nodes) values, aliases counted in full")
      throw Stop()
    }
  }

  private mutating func node(
    _ parser: UnsafeMutablePointer<yaml_parser_t>, _ bytes: UnsafeBufferPointer<UInt8>, depth: Int
  ) throws(Stop) -> Node {
    let start = event.start_mark
    let mark = Mark(start)
    guard depth <= limits.depth else {
      report(start, "nested deeper than \(limits.depth)")
      throw Stop()
    }
    switch event.type {
    case YAML_ALIAS_EVENT:
      let name = text(event.data.alias.anchor) ?? ""
      guard let anchored = anchors[name] else {
        report(start, openAnchors.contains(name) ? "alias *\(name) within its own anchor" : "unknown alias *\(name)")
        try count(1)
        return Node(.scalar("", isPlain: true), mark: mark)
      }
      try count(anchored.weight)
      return Node(anchored.value, mark: mark, weight: anchored.weight)
    case YAML_SCALAR_EVENT:
      try count(1)
      let scalar = event.data.scalar
      let value = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      let node = Node(.scalar(value, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE), mark: mark)
      if let anchor = text(scalar.anchor) { anchors[anchor] = node }
      return node
    case YAML_SEQUENCE_START_EVENT:
      let anchor = text(event.data.sequence_start.anchor)
      return try anchored(anchor) { (builder: inout Builder) throws(Stop) in
        try builder.count(1)
        var items: [Node] = []
        var weight = 1
        try builder.next(parser, bytes)
        while builder.event.type != YAML_SEQUENCE_END_EVENT {
          let item = try builder.node(parser, bytes, depth: depth + 1)
          weight += item.weight
          items.append(item)
          try builder.next(parser, bytes)
        }
        return Node(.sequence(items), mark: mark, weight: weight)
      }
    case YAML_MAPPING_START_EVENT:
      let anchor = text(event.data.mapping_start.anchor)
      return try anchored(anchor) { (builder: inout Builder) throws(Stop) in
        try builder.mapping(parser, bytes, mark, depth: depth)
      }
    default:
      report(start, "something that is no value")
      throw Stop()
    }
  }

  private mutating func mapping(
    _ parser: UnsafeMutablePointer<yaml_parser_t>, _ bytes: UnsafeBufferPointer<UInt8>, _ mark: Mark, depth: Int
  ) throws(Stop) -> Node {
    try count(1)
    var entries: [Node.Entry] = []
    var seen: [String: Mark] = [:]
    var weight = 1
    try next(parser, bytes)
    while event.type != YAML_MAPPING_END_EVENT {
      let start = event.start_mark
      let key = try node(parser, bytes, depth: depth + 1)
      try next(parser, bytes)
      let value = try node(parser, bytes, depth: depth + 1)
      weight += 1 + value.weight
      if let name = key.string {
        if let first = seen[name] {
          report(start, "key `\(name)` is already there, in line \(first.line)")
        } else {
          seen[name] = key.mark
          entries.append(Node.Entry(key: name, keyMark: key.mark, value: value))
        }
      } else {
        report(start, "a key has to be a text, found \(key.kindName)")
      }
      try next(parser, bytes)
    }
    return Node(.mapping(entries), mark: mark, weight: weight)
  }

  private mutating func anchored(
    _ anchor: String?, _ body: (inout Builder) throws(Stop) -> Node
  ) throws(Stop) -> Node {
    if let anchor { openAnchors.insert(anchor) }
    let node = try body(&self)
    if let anchor {
      openAnchors.remove(anchor)
      anchors[anchor] = node
    }
    return node
  }

  private func text(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? { pointer.map { String(cString: $0) } }
}

extension Mark {
  fileprivate init(_ mark: yaml_mark_t) { self.init(line: mark.line + 1, column: mark.column + 1) }

  fileprivate init(offset: Int, in bytes: UnsafeBufferPointer<UInt8>) {
    let before = bytes.prefix(max(0, min(offset, bytes.count)))
    let line = before.lazy.filter { $0 == 10 }.count + 1
    let column = before.reversed().prefix { $0 != 10 }.count + 1
    self.init(line: line, column: column)
  }
}

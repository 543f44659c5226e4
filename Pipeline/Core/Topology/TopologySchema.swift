/// The JSON Schema (2020-12) of a topology file, for editors.
public enum TopologySchema {
  /// What every stage takes, whatever it does: a line an option.
  public static var stageHelp: String { StageSettingsReader.schema.help }

  /// What `content:` takes, the same way.
  public static var contentHelp: String { OptionReader.contentSchema.help }

  /// The schema for the words of `vocabulary`.
  public static func json(_ vocabulary: Vocabulary) -> JSONValue {
    let common = StageSettingsReader.schema.options
    let stageOptions = vocabulary.stages.entries.flatMap(\.options.options)
    var seen: Set<String> = []
    let stage = object((common + stageOptions).filter { seen.insert($0.name).inserted })
    let gateways = vocabulary.gateways.map { JSONValue.Member($0.name, object($0.schema.options)) }
    let texts: JSONValue = ["type": "array", "items": ["type": "string"]]
    let textOrTexts: JSONValue = ["oneOf": [["type": "string"], texts]]
    let flow: JSONValue = [
      "type": "object", "additionalProperties": false, "required": ["stages"],
      "properties": [
        "from": textOrTexts, "stages": texts, "before-accept": texts,
        "on": ["type": "object", "additionalProperties": ["type": "string"]],
      ],
    ]
    var properties: [JSONValue.Member] = [
      .init("version", ["const": 1]), .init("name", ["type": "string"]), .init("broker", ["type": "string"]),
      .init("kafka", ["type": "object", "additionalProperties": ["type": ["string", "number", "boolean"]]]),
      .init("topics", ["type": "object", "additionalProperties": ["type": ["string", "number", "boolean"]]]),
      .init("data", ["type": "string"]), .init("content", object(OptionReader.contentSchema.options)),
      .init("guarantee", ["enum": .array(Topology.Guarantee.allCases.map { .string($0.rawValue) })]),
      .init("window", ["type": "string"]), .init("defaults", object(common)),
      .init("gateways", .object([.init("type", "object"), .init("properties", .object(gateways))])),
      .init("flows", ["type": "object", "additionalProperties": flow]),
      .init("stages", ["type": "object", "additionalProperties": stage]),
      .init(
        "nodes",
        [
          "type": "object",
          "additionalProperties": [
            "type": "object", "additionalProperties": false,
            "properties": ["gateways": textOrTexts, "stages": textOrTexts],
          ],
        ]),
    ]
    for section in vocabulary.sections.options { properties.append(.init(section.name, schema(section))) }
    return .object([
      .init("$schema", "https://json-schema.org/draft/2020-12/schema"), .init("type", "object"),
      .init("additionalProperties", false), .init("required", ["version", "flows"]),
      .init("properties", .object(properties)),
    ])
  }

  private static func object(_ options: [Option]) -> JSONValue {
    .object([
      .init("type", "object"), .init("properties", .object(options.map { .init($0.name, schema($0)) })),
    ])
  }

  private static func schema(_ option: Option) -> JSONValue {
    var members: [JSONValue.Member] = [.init("description", .string(option.help))]
    switch option.kind {
    case .boolean: members.append(.init("type", "boolean"))
    case .integer(let range):
      members += [
        .init("type", "integer"), .init("minimum", .int(range.lowerBound)), .init("maximum", .int(range.upperBound)),
      ]
    case .number: members.append(.init("type", "number"))
    case .text, .address: members.append(.init("type", "string"))
    case .choice(let words): members.append(.init("enum", .array(words.map { .string($0) })))
    case .duration: members += [.init("type", "string"), .init("pattern", "^[0-9]+(ms|s|m|h|d)$")]
    case .size: members.append(.init("type", ["string", "integer"]))
    case .list: members.append(.init("type", ["array", "string"]))
    }
    return .object(members)
  }
}

extension OptionSchema {
  /// A line an option, aligned: name, what it takes, what it is by default, what it is for.
  public var help: String {
    let width = options.map(\.name.count).max() ?? 0
    return options.map { option in
      let space = String(repeating: " ", count: width - option.name.count)
      let byDefault = option.defaultValue.map { ", \($0.words) by default" } ?? (option.isRequired ? ", required" : "")
      return "    \(option.name)\(space)  \(option.help) (\(option.kind.words)\(byDefault))"
    }.joined(separator: "\n")
  }
}

extension OptionValue {
  /// As the topology writes it.
  var words: String {
    switch self {
    case .boolean(let value): "\(value)"
    case .integer(let number): "\(number)"
    case .number(let number): "\(number)"
    case .text(let text): text.isEmpty ? "none" : text
    case .duration(let duration): DurationText.short(duration)
    case .list(let list): "[" + list.joined(separator: ", ") + "]"
    }
  }
}

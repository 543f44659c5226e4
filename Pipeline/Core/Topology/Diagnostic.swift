/// One mistake in a topology, for people and for editors.
public struct Diagnostic: Sendable, Hashable, CustomStringConvertible {
  /// The file, as it was named.
  public let file: String
  /// 1 and up; 1 when unknown.
  public let line: Int
  /// 1 and up, in characters.
  public let column: Int
  /// What is wrong, with what was found.
  public let message: String
  /// What would fit.
  public let hint: String?

  /// One mistake.
  public init(file: String, line: Int, column: Int, message: String, hint: String? = nil) {
    self.file = file
    self.line = line
    self.column = column
    self.message = message
    self.hint = hint
  }

  /// `FILE:LINE:COLUMN: error: MESSAGE`, with the hint behind it.
  public var description: String {
    "\(file):\(line):\(column): error: \(message)" + (hint.map { "; \($0)" } ?? "")
  }
}

/// A topology that cannot be used: every mistake that was found, in order of the file.
public struct TopologyError: Error, Sendable, CustomStringConvertible {
  /// At least one.
  public let diagnostics: [Diagnostic]
  /// All of them.
  public init(_ diagnostics: [Diagnostic]) { self.diagnostics = diagnostics }
  /// A line each.
  public var description: String { diagnostics.map(\.description).joined(separator: "\n") }
}

/// What words a topology may use: the application's stages, gateways and sections.
public struct Vocabulary: Sendable {
  /// A kind of gateway.
  public struct GatewayKind: Sendable {
    /// Its name.
    public let name: String
    /// One line for `mailflow stages`.
    public let summary: String
    /// Whether it puts messages into flows (`from:`), or only lets people read.
    public let isSource: Bool
    /// Its options.
    public let schema: OptionSchema
    /// Whether it reads or writes the data folder: only one machine has that.
    public let needsDataFolder: Bool
    /// What is wrong with options that the schema takes, in words; nil: nothing.
    public let mistake: @Sendable (OptionValues) -> String?

    /// A kind of gateway.
    public init(
      _ name: String, _ summary: String, isSource: Bool, schema: OptionSchema, needsDataFolder: Bool = false,
      mistake: @escaping @Sendable (OptionValues) -> String? = { _ in nil }
    ) {
      self.mistake = mistake
      self.name = name
      self.summary = summary
      self.isSource = isSource
      self.schema = schema
      self.needsDataFolder = needsDataFolder
    }
  }

  /// Stages by name.
  public var stages: StageRegistry
  /// Gateways by name.
  public var gateways: [GatewayKind]
  /// Top-level sections of the application, such as `domains`.
  public var sections: OptionSchema

  /// What words a topology may use.
  public init(stages: StageRegistry, gateways: [GatewayKind] = [], sections: OptionSchema = OptionSchema([])) {
    self.stages = stages
    self.gateways = gateways
    self.sections = sections
  }
}

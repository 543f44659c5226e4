/// The options of a stage or gateway. One description of them drives parsing, checking, help and JSON Schema.
///
/// ```swift
/// struct ValidateOptions: StageOptions {
///   static let schema = OptionSchema([
///     Option("max-hops", .integer(1...1000), default: .integer(50), "Received headers before mail counts as looping")
///   ])
///   let maximumHops: Int
///   init(_ values: OptionValues) { maximumHops = values.int("max-hops") }
/// }
/// ```
public protocol StageOptions: Sendable {
  /// What can be set.
  static var schema: OptionSchema { get }
  /// Takes values that were checked against the schema; what was not set has its default.
  init(_ values: OptionValues) throws
}

/// A stage without options.
public struct NoOptions: StageOptions {
  /// Nothing.
  public static let schema = OptionSchema([])
  /// Takes nothing.
  public init(_ values: OptionValues) {}
}

/// Every option of a stage or gateway, in the order in which help shows them.
public struct OptionSchema: Sendable {
  /// In order; names are unique.
  public let options: [Option]
  /// The options, in the order in which help shows them.
  public init(_ options: [Option]) { self.options = options }
  /// The option of that name.
  public subscript(name: String) -> Option? { options.first { $0.name == name } }
}

/// One option.
public struct Option: Sendable {
  /// Lower-case words with hyphens.
  public let name: String
  /// What it may be.
  public let kind: Kind
  /// What it is when not set; nil: it must be set, unless `kind` is optional by nature (then absent).
  public let defaultValue: OptionValue?
  /// Whether a topology without it is refused.
  public let isRequired: Bool
  /// One sentence of help, with units.
  public let help: String

  /// What an option may be.
  public enum Kind: Sendable, Hashable {
    /// `true` or `false`.
    case boolean
    /// A whole number in a range.
    case integer(ClosedRange<Int>)
    /// A number in a range.
    case number(ClosedRange<Double>)
    /// A text.
    case text
    /// One of a few words.
    case choice([String])
    /// `250ms`, `30s`, `5m`, `2h`, `1d`.
    case duration(ClosedRange<Duration>)
    /// `512`, `64KiB`, `25MiB`, `1GiB` in bytes.
    case size(ClosedRange<Int>)
    /// `HOST:PORT`.
    case address
    /// A list of texts.
    case list
  }

  /// An option that has a default.
  public init(_ name: String, _ kind: Kind, default value: OptionValue, _ help: String) {
    self.name = name
    self.kind = kind
    defaultValue = value
    isRequired = false
    self.help = help
  }

  /// An option without a default.
  public init(_ name: String, _ kind: Kind, required: Bool, _ help: String) {
    self.name = name
    self.kind = kind
    defaultValue = nil
    isRequired = required
    self.help = help
  }
}

/// The value of one option.
public enum OptionValue: Sendable, Hashable {
  /// Yes or no.
  case boolean(Bool)
  /// A whole number; also sizes in bytes.
  case integer(Int)
  /// A number.
  case number(Double)
  /// A text, a choice, an address.
  case text(String)
  /// A length of time.
  case duration(Duration)
  /// A list of texts.
  case list([String])
}

/// Values that were checked against a schema, defaults filled in.
public struct OptionValues: Sendable, Hashable {
  private let values: [String: OptionValue]

  /// Fills in the defaults of `schema`.
  public init(_ values: [String: OptionValue] = [:], schema: OptionSchema) {
    var filled = values
    for option in schema.options where filled[option.name] == nil { filled[option.name] = option.defaultValue }
    self.values = filled
  }

  /// The value; nil when it was not set and has no default.
  public subscript(name: String) -> OptionValue? { values[name] }
  /// A boolean; false when absent.
  public func bool(_ name: String) -> Bool { if case .boolean(let value)? = values[name] { value } else { false } }
  /// A whole number or size; 0 when absent.
  public func int(_ name: String) -> Int { if case .integer(let value)? = values[name] { value } else { 0 } }
  /// A number; 0 when absent.
  public func number(_ name: String) -> Double { if case .number(let value)? = values[name] { value } else { 0 } }
  /// A text, choice or address; nil when absent.
  public func text(_ name: String) -> String? { if case .text(let value)? = values[name] { value } else { nil } }
  /// A length of time; zero when absent.
  public func duration(_ name: String) -> Duration {
    if case .duration(let value)? = values[name] { value } else { .zero }
  }
  /// A list; empty when absent.
  public func list(_ name: String) -> [String] { if case .list(let value)? = values[name] { value } else { [] } }
}

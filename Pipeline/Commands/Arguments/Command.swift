/// A command of the command line. One description drives parsing, help, errors and shell completion.
///
/// ```swift
/// Command("lag", "Shows how far behind every topic is.", options: [.flag("watch", "Shows it again every second.")]) {
///   arguments in
///   …
/// }
/// ```
public struct Command: Sendable {
  /// Something that begins with `--`.
  public struct Option: Sendable {
    /// Its name, without the hyphens.
    public let name: String
    /// What its value is called in help; nil: it has none.
    public let value: String?
    /// Whether it may be given more than once.
    public let isRepeated: Bool
    /// One sentence.
    public let help: String

    /// An option without a value.
    public static func flag(_ name: String, _ help: String) -> Option {
      Option(name: name, value: nil, isRepeated: false, help: help)
    }
    /// An option with a value, given once at most.
    public static func value(_ name: String, _ value: String, _ help: String) -> Option {
      Option(name: name, value: value, isRepeated: false, help: help)
    }
    /// An option with a value, given any number of times.
    public static func repeated(_ name: String, _ value: String, _ help: String) -> Option {
      Option(name: name, value: value, isRepeated: true, help: help)
    }
  }

  /// A word that is no option.
  public struct Positional: Sendable {
    /// What it is called in help.
    public let name: String
    /// Whether it has to be there.
    public let isRequired: Bool
    /// One sentence.
    public let help: String

    /// A word that has to be there.
    public static func required(_ name: String, _ help: String) -> Positional {
      Positional(name: name, isRequired: true, help: help)
    }
    /// A word that may be there.
    public static func optional(_ name: String, _ help: String) -> Positional {
      Positional(name: name, isRequired: false, help: help)
    }
  }

  /// What it is called by.
  public let name: String
  /// One sentence.
  public let summary: String
  /// What else there is to know; paragraphs.
  public let discussion: String
  /// Command lines that work, each with what it does.
  public let examples: [(line: String, meaning: String)]
  /// Its options; `--help` is there anyway.
  public let options: [Option]
  /// Its words, in order; required ones first.
  public let positionals: [Positional]
  /// What it is divided into.
  public let subcommands: [Command]
  /// Whether help and completion leave it out.
  public let isHidden: Bool
  /// What it does; nil when it is divided.
  let run: (@Sendable (Arguments) async throws -> ExitCode)?

  /// A command that does something.
  public init(
    _ name: String, _ summary: String, discussion: String = "", examples: [(line: String, meaning: String)] = [],
    options: [Option] = [], positionals: [Positional] = [], isHidden: Bool = false,
    run: @escaping @Sendable (Arguments) async throws -> ExitCode
  ) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    self.examples = examples
    self.options = options
    self.positionals = positionals
    subcommands = []
    self.isHidden = isHidden
    self.run = run
  }

  /// A command that is divided into others.
  public init(_ name: String, _ summary: String, discussion: String = "", subcommands: [Command]) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    examples = []
    options = []
    positionals = []
    self.subcommands = subcommands
    isHidden = false
    run = nil
  }
}

/// What was said on a command line.
public struct Arguments: Sendable {
  var options: [String: [String]] = [:]
  var words: [String: String] = [:]

  /// Whether the option was given.
  public func has(_ option: String) -> Bool { options[option] != nil }
  /// The value of an option; the last one if it was repeated.
  public func value(_ option: String) -> String? { options[option]?.last }
  /// Every value of a repeated option, in order.
  public func values(_ option: String) -> [String] { options[option] ?? [] }
  /// A word.
  public func word(_ positional: String) -> String? { words[positional] }

  /// The value of an option as a whole number within `range`.
  ///
  /// - Throws: `ServiceError` with a usage code when it is none.
  public func int(_ option: String, in range: ClosedRange<Int>) throws(ServiceError) -> Int? {
    guard let text = value(option) else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw ServiceError(
        .usage, "--\(option) takes a whole number from \(range.lowerBound) to \(range.upperBound), not `\(text)`")
    }
    return number
  }
}

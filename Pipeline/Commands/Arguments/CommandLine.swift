import Pipeline

/// Finds out what a command line says, and runs it.
public struct CommandLineTool: Sendable {
  /// The program's name.
  public let name: String
  /// One sentence.
  public let summary: String
  /// What `--version` prints.
  public let version: String
  /// In the order of help.
  public let commands: [Command]

  /// A program that is divided into commands; `help` and `completion` are added.
  public init(_ name: String, _ summary: String, version: String, commands: [Command]) {
    self.name = name
    self.summary = summary
    self.version = version
    self.commands = commands
  }

  /// What a command line asks for.
  public enum Request: Sendable {
    /// To print a text.
    case print(String)
    /// To run a command.
    case run(Command, Arguments)
  }

  /// Runs what the words say; prints errors. Returns the exit code.
  public func run(_ words: [String]) async -> ExitCode {
    do throws(ServiceError) {
      switch try parse(words) {
      case .print(let text):
        Console.out(text)
        return .ok
      case .run(let command, let arguments):
        guard let run = command.run else { return .usage }
        do { return try await run(arguments) } catch { throw Self.describe(error) }
      }
    } catch {
      Console.error("\(name): \(error.description)")
      return error.code
    }
  }

  /// Finds out what the words say.
  ///
  /// - Throws: `ServiceError` with a usage code, with what may have been meant.
  public func parse(_ words: [String]) throws(ServiceError) -> Request {
    var path = [name]
    var choices = commands
    var summary = self.summary
    var discussion = ""
    var rest = words[...]
    while true {
      guard let word = rest.first else {
        return .print(Help.group(path, summary, discussion, choices))
      }
      rest.removeFirst()
      switch word {
      case "--help", "-h", "help":
        return try help(path, summary, discussion, choices, rest)
      case "--version" where path.count == 1: return .print("\(name) \(version)")
      case "completion" where path.count == 1: return .print(try completion(rest.first))
      default: break
      }
      guard let command = choices.first(where: { $0.name == word }) else {
        throw unknown(word, path, choices)
      }
      path.append(word)
      if command.run != nil { return try parse(command, path, rest) }
      (choices, summary, discussion) = (command.subcommands, command.summary, command.discussion)
    }
  }

  private func help(
    _ path: [String], _ summary: String, _ discussion: String, _ choices: [Command], _ rest: ArraySlice<String>
  ) throws(ServiceError) -> Request {
    guard let word = rest.first, !word.hasPrefix("-") else {
      return .print(Help.group(path, summary, discussion, choices))
    }
    guard let command = choices.first(where: { $0.name == word }) else { throw unknown(word, path, choices) }
    if command.run != nil { return .print(Help.command(path + [word], command)) }
    return try help(path + [word], command.summary, command.discussion, command.subcommands, rest.dropFirst())
  }

  private func unknown(_ word: String, _ path: [String], _ choices: [Command]) -> ServiceError {
    let names = choices.filter { !$0.isHidden }.map(\.name)
    let line = path.joined(separator: " ")
    if word.hasPrefix("-") {
      return ServiceError(.usage, "`\(line)` has no option `\(word)`", hint: "`\(line) --help` lists what there is")
    }
    let hint = Suggestion.nearest(to: word, among: names).map { "did you mean `\(line) \($0)`?" }
    return ServiceError(
      .usage, "`\(line)` has no command `\(word)`", hint: hint ?? "`\(line) --help` lists what there is")
  }

  private func completion(_ shell: String?) throws(ServiceError) -> String {
    switch shell {
    case "bash": return Completion.bash(self)
    case "zsh": return Completion.zsh(self)
    default:
      throw ServiceError(
        .usage, "`\(name) completion` takes `bash` or `zsh`", hint: "try: source <(\(name) completion bash)")
    }
  }

  private func parse(
    _ command: Command, _ path: [String], _ words: ArraySlice<String>
  ) throws(ServiceError) -> Request {
    let line = path.joined(separator: " ")
    var arguments = Arguments()
    var plain: [String] = []
    var rest = words
    var optionsEnded = false
    while let word = rest.popFirst() {
      if optionsEnded || !word.hasPrefix("-") || word == "-" {
        plain.append(word)
        continue
      }
      if word == "--" {
        optionsEnded = true
        continue
      }
      if word == "--help" || word == "-h" { return .print(Help.command(path, command)) }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0].drop { $0 == "-" })
      guard word.hasPrefix("--"), let option = command.options.first(where: { $0.name == name }) else {
        let names = command.options.map { "--\($0.name)" }
        let hint = Suggestion.nearest(to: "--\(name)", among: names).map { "did you mean `\($0)`?" }
        throw ServiceError(
          .usage, "`\(line)` has no option `\(parts[0])`", hint: hint ?? "`\(line) --help` lists what there is")
      }
      if !option.isRepeated, arguments.has(name) {
        throw ServiceError(.usage, "--\(name) was given twice")
      }
      guard let value = option.value else {
        guard parts.count == 1 else { throw ServiceError(.usage, "--\(name) takes no value") }
        arguments.options[name] = []
        continue
      }
      if parts.count == 2 {
        arguments.options[name, default: []].append(String(parts[1]))
      } else if let next = rest.popFirst() {
        arguments.options[name, default: []].append(next)
      } else {
        throw ServiceError(.usage, "--\(name) needs a value", hint: "--\(name) \(value)")
      }
    }
    for (index, positional) in command.positionals.enumerated() {
      if index < plain.count {
        arguments.words[positional.name] = plain[index]
      } else if positional.isRequired {
        throw ServiceError(
          .usage, "`\(line)` needs \(positional.name)", hint: "usage: \(Help.usage(path, command))")
      }
    }
    if plain.count > command.positionals.count {
      throw ServiceError(
        .usage, "`\(line)` does not know what to do with `\(plain[command.positionals.count])`",
        hint: "usage: \(Help.usage(path, command))")
    }
    return .run(command, arguments)
  }

  /// Whatever a command threw, with an exit code.
  static func describe(_ error: any Error) -> ServiceError {
    switch error {
    case let error as ServiceError: return error
    case let error as TopologyError: return ServiceError(.config, error.description)
    case let error as BrokerError:
      let code: ExitCode =
        switch error.kind {
        case .unavailable, .storageFull: .unavailable
        case .locked: .temporary
        case .notPermitted: .noPermission
        case .corrupt: .dataError
        case .newerVersion, .mismatch, .badSetting: .config
        default: .ioError
        }
      return ServiceError(code, error.message, hint: error.hint)
    default: return ServiceError(.software, "\(error)")
    }
  }
}

/// The texts of `--help`, from the same description that parses.
enum Help {
  private static let width = 100

  static func group(_ path: [String], _ summary: String, _ discussion: String, _ commands: [Command]) -> String {
    var text = "\(summary)\n\nusage: \(path.joined(separator: " ")) COMMAND [OPTION]…\n\nCommands:\n"
    let rows = commands.filter { !$0.isHidden }.map { ($0.name, $0.summary) }
    text += table(
      rows + (path.count == 1 ? [("completion bash|zsh", "Prints a completion script for the shell.")] : []))
    if !discussion.isEmpty { text += "\n\(wrap(discussion, indent: 0))\n" }
    return text + "\n`\(path.joined(separator: " ")) COMMAND --help` says more about a command."
  }

  static func command(_ path: [String], _ command: Command) -> String {
    var text = "\(command.summary)\n\nusage: \(usage(path, command))\n"
    if !command.discussion.isEmpty { text += "\n\(wrap(command.discussion, indent: 0))\n" }
    if !command.positionals.isEmpty {
      text += "\nArguments:\n" + table(command.positionals.map { ($0.name, $0.help) })
    }
    let options = command.options.map { option in
      (
        "--\(option.name)" + (option.value.map { " \($0)" } ?? ""),
        option.help + (option.isRepeated ? " Repeatable." : "")
      )
    }
    text += "\nOptions:\n" + table(options + [("-h, --help", "Shows this.")])
    if !command.examples.isEmpty {
      text += "\nExamples:\n"
      for example in command.examples { text += "  \(example.line)\n      \(example.meaning)\n" }
    }
    return String(text.dropLast())
  }

  static func usage(_ path: [String], _ command: Command) -> String {
    var words = [path.joined(separator: " ")]
    if !command.options.isEmpty { words.append("[OPTION]…") }
    words += command.positionals.map { $0.isRequired ? $0.name : "[\($0.name)]" }
    return words.joined(separator: " ")
  }

  static func table(_ rows: [(String, String)]) -> String {
    let column = min(34, (rows.map(\.0.count).max() ?? 0) + 2)
    return rows.map { left, right in
      let padded = left.count < column ? left + String(repeating: " ", count: column - left.count) : left + "  "
      return "  \(padded)\(wrap(right, indent: column + 2))\n"
    }.joined()
  }

  private static func wrap(_ text: String, indent: Int) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { paragraph in
      var lines: [String] = []
      var line = ""
      for word in paragraph.split(separator: " ") {
        if !line.isEmpty, line.count + 1 + word.count > width - indent {
          lines.append(line)
          line = ""
        }
        line += (line.isEmpty ? "" : " ") + word
      }
      lines.append(line)
      return lines.joined(separator: "\n" + String(repeating: " ", count: indent))
    }.joined(separator: "\n" + String(repeating: " ", count: indent))
  }
}

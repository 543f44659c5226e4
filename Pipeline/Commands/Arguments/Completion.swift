/// Completion scripts for shells, from the same description that parses.
enum Completion {
  /// For bash: `source <(mailflow completion bash)`.
  static func bash(_ tool: CommandLineTool) -> String {
    var cases: [String] = []
    for (path, words) in table(tool) { cases.append("    '\(path)') words='\(words.joined(separator: " "))' ;;") }
    return """
      _\(tool.name)() {
        local path='' word words=''
        for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
          case "$word" in -*) ;; *) path="$path $word" ;; esac
        done
        while :; do
          case "$path" in
      \(cases.joined(separator: "\n"))
          *) path="${path% *}"; [ -n "$path" ] && continue ;;
          esac
          break
        done
        COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
        if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); fi
      }
      complete -F _\(tool.name) \(tool.name)
      """
  }

  /// For zsh: `source <(mailflow completion zsh)`, through zsh's own understanding of bash completions.
  static func zsh(_ tool: CommandLineTool) -> String {
    "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" + bash(tool)
  }

  /// What can follow each path of commands.
  static func table(_ tool: CommandLineTool) -> [(path: String, words: [String])] {
    var rows = [(path: "", words: visible(tool.commands) + ["help", "completion", "--help", "--version"])]
    rows.append((path: " completion", words: ["bash", "zsh"]))
    func add(_ commands: [Command], _ path: String) {
      for command in commands where !command.isHidden {
        let here = "\(path) \(command.name)"
        rows.append((here, visible(command.subcommands) + command.options.map { "--\($0.name)" } + ["--help"]))
        add(command.subcommands, here)
      }
    }
    add(tool.commands, "")
    return rows
  }

  private static func visible(_ commands: [Command]) -> [String] { commands.filter { !$0.isHidden }.map(\.name) }
}

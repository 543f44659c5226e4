import Glibc
import Linux
import Pipeline

extension Application {
  /// The command line of the application: the framework's commands and its own.
  public var tool: CommandLineTool {
    CommandLineTool(
      name, summary, version: version,
      commands: [
        .up(self), .check(self), .graph(self), .stages(self), .lag(self), .dead(self), .trace(self),
      ] + commands + [.child(self)])
  }

  /// Runs the command line of this process to its end.
  public func main() async -> Never {
    ignoreBrokenPipes()
    let words = Array(Swift.CommandLine.arguments.dropFirst())
    if words.first == "child" { Termination.listen() }
    exit(await tool.run(words).rawValue)
  }
}

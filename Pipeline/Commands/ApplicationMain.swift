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
    // Before any thread starts: a signal that one thread does not block would end the process instead of draining it.
    if words.first == "child" { Termination.listen() }
    if words.first == "up" { Supervisor.blockItsSignals() }
    exit(await tool.run(words).rawValue)
  }
}

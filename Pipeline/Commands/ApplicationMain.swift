import Glibc
import Linux
import Pipeline

extension Application {
  /// The command line of the application: the framework's commands and its own.
  public var tool: CommandLineTool {
    CommandLineTool(
      name, summary, version: version,
      commands: [
        .up(self), .run(self), .check(self), .graph(self), .stages(self), .lag(self), .dead(self), .trace(self),
        .grow(self), .migrate(self),
      ] + commands(self) + [.child(self)])
  }

  /// Runs the command line of this process to its end.
  ///
  /// The main thread only waits: an async `main` would leave it to Dispatch, which waits there with every signal
  /// unblocked, so that SIGTERM would end the process instead of draining it.
  public func main() -> Never {
    ignoreBrokenPipes()
    umask(0o077)  // what is in mailboxes and topics is nobody else's business
    let words = Array(Swift.CommandLine.arguments.dropFirst())
    // Before any thread starts: what one thread does not block, the process does not.
    if words.first == "child" {
      if !words.contains("--help") { tieToSupervisor() }  // first: descriptor 3 is the supervisor's or nobody's
      Termination.listen()
    }
    if ["up", "run"].contains(words.first) { Supervisor.blockItsSignals() }
    let tool = tool
    let pool = ThreadPool(threads: 1)
    Task(executorPreference: pool) { @Sendable in endProcess(await tool.run(words).rawValue) }
    while true { sleep(3600) }
  }
}

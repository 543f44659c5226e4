import MailflowApp
import PipelineCommands

/// The executable: runs what `App/Composition` puts together.
@main
struct Main {
  static func main() {
    Mailflow.application.main()
  }
}

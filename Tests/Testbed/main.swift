import Glibc
import MailflowApp
import Pipeline
import PipelineCommands

// Mailflow with stages that misbehave, for the scenarios: `pass` waits a little, `trouble` does what a message says.

/// Lets every message pass, after a while.
struct PassStage: Stage {
  struct Options: StageOptions {
    static let schema = OptionSchema([
      Option("delay", .duration(.zero ... .seconds(3600)), default: .duration(.zero), "How long each message takes")
    ])
    let delay: Duration
    init(_ values: OptionValues) { delay = values.duration("delay") }
  }
  let options: Options

  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    if options.delay > .zero { try await context.clock.sleep(for: options.delay) }
    return .forward(message)
  }
}

/// Does to its worker what the first line of a message's body asks for.
struct TroubleStage: Stage {
  struct Failure: Error {}

  func process(_ message: Message, _ context: StageContext) async throws -> Outcome {
    let text = try await message.content.load().text
    if text.contains("trouble: trap") { trap() }
    if text.contains("trouble: hang") { while true { usleep(1000) } }
    if text.contains("trouble: recurse") { _ = recurse(1) }
    if text.contains("trouble: throw") { throw Failure() }
    return .forward(message)
  }

  private func trap() {
    let empty: [Int] = []
    print(empty[Int(getpid())])
  }

  @inline(never)
  private func recurse(_ depth: Int) -> Int { depth < 0 ? 0 : recurse(depth &+ 1) &+ depth }
}

var application = Mailflow.application
let stages = application.stages
func addTo(_ registry: inout StageRegistry) {
  registry.register("pass", "Lets every message pass.", options: PassStage.Options.self, readsContent: false) {
    options, _ in .one(PassStage(options: options))
  }
  registry.register("trouble", "Does what a message says.", options: NoOptions.self, onlyJudges: true) { _, _ in
    .one(TroubleStage())
  }
}
addTo(&application.vocabulary.stages)
application.stages = { topology, folder, contentStore in
  var registry = try stages(topology, folder, contentStore)
  addTo(&registry)
  return registry
}
application.main()

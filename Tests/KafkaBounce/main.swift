import Glibc
import KafkaBroker
import Linux
import Pipeline

// One process of the bounce: see Tests/Scenarios/kafka_bounce.py, which starts and ends them.
//   kafka-bounce worker SERVERS NAME SEED INSTANCE
//   kafka-bounce feed   SERVERS NAME SEED FIRST COUNT PER-SECOND ACKNOWLEDGED
//   kafka-bounce verify SERVERS NAME SEED ACKNOWLEDGED
//   kafka-bounce late   SERVERS NAME SEED PID PID

let words = CommandLine.arguments
guard words.count > 5, let seed = UInt64(words[4]) else {
  say("usage: kafka-bounce worker|feed|verify|late SERVERS NAME SEED …")
  exit(64)
}
let plan = Plan(servers: words[2], name: words[3], seed: seed)

// Blocked everywhere, so that the one thread that waits for it gets it.
var signals = sigset_t()
sigemptyset(&signals)
sigaddset(&signals, SIGTERM)
pthread_sigmask(SIG_BLOCK, &signals, nil)

// Nobody outlives the driver.
startThread {
  var byte: UInt8 = 0
  while read(0, &byte, 1) > 0 {}
  _exit(3)
}

/// The broker, as soon as it answers.
func connect(_ plan: Plan, with change: (inout KafkaBroker.Options) -> Void = { _ in }) async throws -> KafkaBroker {
  var options = KafkaBroker.Options(servers: plan.servers)
  options.sessionTimeout = .seconds(6)
  change(&options)
  while true {
    do { return try await KafkaBroker.open(options) } catch {
      guard error.isTransient else { throw error }
    }
  }
}

func run(_ plan: Plan) async throws -> Int32 {
  if words[1] == "late" {
    guard words.count == 7, let first = pid_t(words[5]), let second = pid_t(words[6]) else { return 64 }
    return try await Late(plan: plan, brokers: (first, second)).judge() ? 0 : 1
  }
  let broker = try await connect(plan)
  switch words[1] {
  case "worker": try await work(plan, broker, instance: words[5])
  case "feed" where words.count == 9:
    guard let first = Int(words[5]), let count = Int(words[6]), let rate = Int(words[7]) else { return 64 }
    try await Feeder(plan, broker, acknowledged: words[8]).feed(first..<first + count, perSecond: rate)
  case "verify": return try await Verifier(plan, broker, acknowledged: words[5]).verify() ? 0 : 1
  default: return 64
  }
  return 0
}

// The main thread only waits: in an async `main` it would do so with every signal unblocked.
let pool = ThreadPool(threads: 1)
Task(executorPreference: pool) {
  do { endProcess(try await run(plan)) } catch {
    say("failed\t\(error)")
    endProcess(1)
  }
}
while true { sleep(3600) }

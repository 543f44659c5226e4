import Pipeline
import PipelineTesting
import Synchronization
import Testing

@Suite struct StageContextTests {
  @Test func aSpanBelongsToTheMessagesTrace() async throws {
    let clock = ManualClock()
    let lines = Mutex<[Log.Line]>([])
    let metrics = Metrics()
    let random = SeededRandom(seed: 1)
    let context = StageContext(
      stage: StageName(flow: "f", stage: "s"), clock: clock, deadline: clock.now,
      log: Log(clock: clock, minimum: .debug) { line in lines.withLock { $0.append(line) } }, metrics: metrics,
      random: random)
    let parent = TraceParent(random: random)
    let message = Message(
      id: MessageID(at: clock.now, random: random), flow: "f", source: "g", contentType: "text/plain",
      content: Content(Bytes("x")), traceParent: parent)
    let handedOn = await context.span("query", of: message) { span in
      clock.advance(by: .milliseconds(3))
      return span
    }
    #expect(handedOn != parent && handedOn.traceID == parent.traceID)
    #expect(TraceParent(handedOn.description) == handedOn)
    #expect(
      metrics.snapshot.map { "\($0.name) \($0.value)" } == [
        "mailflow_span_microseconds_total{stage=\"f.s\",span=\"query\"} 3000",
        "mailflow_spans_total{stage=\"f.s\",span=\"query\"} 1",
      ])
    let fields = try #require(lines.withLock { $0.first }?.fields)
    #expect(fields.first { $0.name == "id" }?.value == message.id.description)
    #expect(fields.first { $0.name == "trace" }?.value == parent.traceID)
  }
}

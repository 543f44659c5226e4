import Glibc
import Linux
import Testing

@Suite struct EndProcessTests {
  /// exit(3) would run them, while threads of libraries are at work on what they free.
  @Test func noHandlerRuns() async {
    await #expect(processExitsWith: .exitCode(3)) {
      atexit { abort() }
      endProcess(3)
    }
  }

  @Test func whatWasPrintedIsWritten() async throws {
    let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      print("the last line", terminator: "")  // into a pipe: kept until there is more
      endProcess(0)
    }
    let text = String(decoding: try #require(result).standardOutputContent, as: UTF8.self)
    #expect(text.contains("the last line"))
  }
}

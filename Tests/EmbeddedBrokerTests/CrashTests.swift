import EmbeddedBroker
import Glibc
import Pipeline
import Testing

@Suite("Killed", .timeLimit(.minutes(1)))
struct CrashTests {
  @Test("what was acknowledged is there, once, after kill -9 again and again")
  func killed() async throws {
    let folder = TemporaryFolder()
    var produced: Set<String> = []
    var settled: Set<String> = []
    for round in 0..<8 {
      let lines = try Probe.run(folder.path, first: round * 1_000_000, lines: 40 + round * 37)
      for line in lines {
        if line.hasPrefix("p ") { produced.insert(String(line.dropFirst(2))) }
        if line.hasPrefix("s ") { settled.insert(String(line.dropFirst(2))) }
      }
    }
    #expect(produced.count > 100)
    #expect(settled.count > 20)

    let broker = try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: .test)
    let committed = try await broker.committed(group: "probe", in: ["in"])
    var out: [String] = []
    var waiting: [String] = []
    for partition in 0..<2 {
      for record in try await everything(TopicPartition("out", partition), broker) {
        #expect(try await record.value().text.hasPrefix("\(record.key.text)."))
        out.append(record.key.text)
      }
      let from = committed[TopicPartition("in", partition)] ?? 0
      for record in try await everything(TopicPartition("in", partition), broker) where record.offset >= from {
        #expect(try await record.value().text.hasPrefix("\(record.key.text)."))
        waiting.append(record.key.text)
      }
    }
    #expect(Set(out).count == out.count, "each output once")
    #expect(settled.isSubset(of: Set(out)), "what was settled has its output")
    #expect(Set(out).isDisjoint(with: Set(waiting)), "what has its output does not wait")
    #expect(produced.isSubset(of: Set(out + waiting)), "nothing that was acknowledged is lost")
    await broker.close()
  }

  private func everything(_ partition: TopicPartition, _ broker: EmbeddedBroker) async throws -> [Record] {
    let marks = try await broker.watermarks([partition])
    return try await broker.read(partition, from: marks[0].first, limit: 100_000)
  }
}

/// Runs `BrokerCrashProbe`, and kills it after it has said so much.
private enum Probe {
  static func run(_ folder: String, first: Int, lines wanted: Int) throws -> [String] {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    defer { posix_spawn_file_actions_destroy(&actions) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(decoding: buffer.prefix(max(0, length)), as: UTF8.self)
    let path = own.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/BrokerCrashProbe"
    var arguments: [UnsafeMutablePointer<CChar>?] = [path, folder, "\(first)"].map { (text: String) in strdup(text) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var pid = pid_t()
    let code = posix_spawn(&pid, path, &actions, nil, &arguments, environ)
    close(ends[1])
    defer { close(ends[0]) }
    try #require(code == 0, "cannot start \(path)")
    var text: [UInt8] = []
    while text.count(where: { $0 == 10 }) < wanted {
      let count = read(ends[0], &buffer, buffer.count)
      if count <= 0 { break }
      text += buffer.prefix(count)
    }
    kill(pid, SIGKILL)
    // What it said before it died counts as well.
    while true {
      let count = read(ends[0], &buffer, buffer.count)
      if count <= 0 { break }
      text += buffer.prefix(count)
    }
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    try #require(lines.count > wanted, "it ended early: \(lines.last ?? "")")
    // The last one may have been cut off.
    return lines.dropLast().map(String.init)
  }
}

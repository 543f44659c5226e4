import Glibc
import Pipeline
import Testing

@testable import PipelineCommands

@Suite struct CommandLineTests {
  private var tool: CommandLineTool {
    CommandLineTool(
      "mailflow", "Mail.", version: "9",
      commands: [
        Command(
          "lag", "Shows lag.",
          options: [.flag("watch", "Again."), .value("limit", "N", "At most."), .repeated("set", "P=V", "Sets.")],
          positionals: [.optional("TOPIC", "One.")]
        ) { _ in .ok },
        Command(
          "dead", "Dead letters.",
          subcommands: [
            Command("list", "Lists.") { _ in .ok },
            Command("show", "Shows.", positionals: [.required("ID", "Which.")]) { _ in .ok },
          ]),
        Command("secret", "Not for people.", isHidden: true) { _ in .ok },
      ])
  }

  private func error(_ line: String) -> String {
    do {
      _ = try tool.parse(line.split(separator: " ").map(String.init))
      return "none"
    } catch { return "\(error.code.rawValue) \(error.description)" }
  }

  @Test func readsOptionsAndWords() throws {
    guard
      case .run(let command, let arguments) = try tool.parse([
        "lag", "--limit=5", "--set", "a=1", "--watch", "--set=b=2", "--", "--x",
      ])
    else { throw ServiceError(.software, "no command") }
    #expect(command.name == "lag" && arguments.has("watch") && arguments.values("set") == ["a=1", "b=2"])
    #expect(try arguments.int("limit", in: 1...9) == 5 && arguments.word("TOPIC") == "--x")
    #expect(throws: ServiceError.self) { try arguments.int("limit", in: 6...9) }
  }

  @Test(arguments: [
    ("lga", "64 `mailflow` has no command `lga`\n  hint: did you mean `mailflow lag`?"),
    ("dead lst", "64 `mailflow dead` has no command `lst`\n  hint: did you mean `mailflow dead list`?"),
    ("lag --wacth", "64 `mailflow lag` has no option `--wacth`\n  hint: did you mean `--watch`?"),
    ("lag --limit", "64 --limit needs a value\n  hint: --limit N"),
    ("lag --watch=1", "64 --watch takes no value"), ("lag --limit 1 --limit 2", "64 --limit was given twice"),
    ("dead show", "64 `mailflow dead show` needs ID\n  hint: usage: mailflow dead show ID"),
    (
      "dead show a b", "64 `mailflow dead show` does not know what to do with `b`\n  hint: usage: mailflow dead show ID"
    ),
    ("--vesion", "64 `mailflow` has no option `--vesion`\n  hint: `mailflow --help` lists what there is"),
  ])
  func mistakesSayWhatWasMeant(_ line: String, _ text: String) { #expect(error(line) == text) }

  @Test func helpTeaches() throws {
    guard case .print(let text) = try tool.parse(["--help"]) else { throw ServiceError(.software, "no text") }
    #expect(text.contains("lag ") && text.contains("usage: mailflow COMMAND") && !text.contains("secret"))
    guard case .print(let lag) = try tool.parse(["lag", "--help"]) else { throw ServiceError(.software, "no text") }
    #expect(
      lag.contains("--set P=V") && lag.contains("Repeatable") && lag.contains("usage: mailflow lag [OPTION]… [TOPIC]"))
    guard case .print(let version) = try tool.parse(["--version"]) else { throw ServiceError(.software, "no text") }
    #expect(version == "mailflow 9")
  }

  @Test func completionKnowsEveryCommand() throws {
    guard case .print(let script) = try tool.parse(["completion", "bash"]) else {
      throw ServiceError(.software, "no text")
    }
    #expect(script.contains("' dead') words='list show --help'") && script.contains("complete -F _mailflow mailflow"))
    #expect(!script.contains("secret"))
  }
}

@Suite struct JournalTests {
  @Test func whatIsInHandIsReadFromOutside() throws {
    let path = "/tmp/mailflow-journal-\(getpid())"
    defer { unlink(path) }
    let journal = try InHandFile(creating: path)
    let id = try #require(MessageIDs.one)
    let ticket = journal.begin("mail.inbound.store", id, deadline: .init(milliseconds: 5))
    #expect(InHandFile.read(path).map(\.group) == ["mail.inbound.store"])
    #expect(InHandFile.read(path).first?.id == id && InHandFile.read(path).first?.deadline == .init(milliseconds: 5))
    journal.end(ticket)
    #expect(InHandFile.read(path).isEmpty)
    // More than there is room for is not noted, and harms nothing.
    let tickets = (0..<2000).map { _ in journal.begin("g", id, deadline: .init(milliseconds: 5)) }
    #expect(tickets.last == -1)
    tickets.forEach { journal.end($0) }
    #expect(InHandFile.read(path).isEmpty)
  }

  @Test func suspectsSurviveInTheirFile() throws {
    let id = try #require(MessageIDs.one)
    let entries = [InHandFile.Entry(group: "g", id: id, deadline: .init(milliseconds: 1))]
    var list = SuspectList()
    list.add(entries)
    #expect(SuspectList(list.text).strikes == ["g": [id: 0]])
    // One that hangs: a short try, then twice its whole time.
    var hanging = list
    for strikes in 1...3 {
      hanging.strike(entries, isCrash: false)
      #expect(SuspectList(hanging.text).strikes == ["g": [id: strikes]])
    }
    // One that crashes needs no short try; being in hand again later changes nothing.
    list.strike(entries, isCrash: true)
    list.add(entries)
    #expect(list.strikes == ["g": [id: StageRunner.Strikes.crashed]])
    list.strike(entries, isCrash: true)
    #expect(list.strikes == ["g": [id: StageRunner.Strikes.dead]])
    list.forgetTheDead()
    #expect(list.suspects == ["g": []])
    #expect(SuspectList("nonsense\n\n a b\n").strikes.isEmpty)
  }
}

import Testing
import YAML

@Suite struct DocumentTests {
  private func problems(_ text: String, _ change: (inout Document.Limits) -> Void = { _ in }) -> [String] {
    var limits = Document.Limits()
    change(&limits)
    return Document(text, limits: limits).problems.map { "\($0.mark.line):\($0.mark.column): \($0.message)" }
  }

  @Test func aTreeKnowsWhereItStands() throws {
    let document = Document("name: mail\nstages:\n  - validate\n  - {use: \"1\"}\n")
    #expect(document.problems.isEmpty)
    let root = try #require(document.root)
    #expect(root["name"]?.string == "mail")
    #expect(root["name"]?.mark == Mark(line: 1, column: 7))
    let stages = try #require(root["stages"]?.items)
    #expect(stages.map(\.kindName) == ["a text", "a mapping"])
    #expect(stages[0].mark == Mark(line: 3, column: 5))
    let entry = try #require(stages[1].entries?.first)
    #expect(entry.keyMark == Mark(line: 4, column: 6))
    guard case .scalar("1", isPlain: false) = entry.value.value else {
      Issue.record("a quoted text is no number: \(entry.value)")
      return
    }
  }

  @Test func nothingIsNothing() {
    for text in ["", "# only a comment\n"] {
      let document = Document(text)
      #expect(document.root == nil && document.problems.isEmpty)
    }
    for text in ["a:", "a: ~", "a: null"] { #expect(Document(text).root?["a"]?.isNull == true) }
    for text in ["a: ''", "a: 'null'", "a: 0"] { #expect(Document(text).root?["a"]?.isNull == false) }
  }

  @Test func anAliasIsItsAnchor() throws {
    let root = try #require(Document("a: &x [1, 2]\nb: *x\n").root)
    #expect(root["b"]?.items?.compactMap(\.string) == ["1", "2"])
  }

  @Test func severalMistakesAtOnce() {
    #expect(
      problems("a: 1\na: 2\nb: *unknown\n[x]: 3\nc: &c [*c]\n") == [
        "2:1: key `a` is already there, in line 1", "3:4: unknown alias *unknown",
        "4:1: a key has to be a text, found a list", "5:8: alias *c within its own anchor",
      ])
  }

  @Test(arguments: [
    ("a: [1, 2", "2:1"), ("a: 'b", "1:6"), ("\ta: 1", "1:1"), ("a: b: c", "1:5"), ("a: @x", "1:4"),
  ]) func syntaxIsReportedWhereItIs(text: String, place: String) throws {
    let found = problems(text)
    #expect(found.count == 1 && found[0].hasPrefix(place + ":"), "\(found)")
  }

  @Test func aControlCharacterHasAPlace() {
    let found = problems("a: 1\nb: \u{1}\n")
    #expect(found.count == 1 && found[0].hasPrefix("2:4: control characters are not allowed"), "\(found)")
  }

  @Test func oneDocumentOnly() {
    #expect(problems("a: 1\n---\nb: 2\n") == ["2:1: a second document; one is allowed"])
  }

  @Test func depthIsBounded() {
    let deep = String(repeating: "[", count: 500) + String(repeating: "]", count: 500)
    #expect(problems(deep) == ["1:66: nested deeper than 64"])
  }

  @Test func sizeIsBounded() {
    #expect(problems("a: \(String(repeating: "x", count: 100))") { $0.bytes = 50 } == ["1:1: larger than 50 bytes"])
  }

  /// "Billion laughs": ten aliases of ten aliases of …
  @Test func aliasesAreCountedInFull() {
    var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in 1...9 {
      let aliases = [String](repeating: "*a\(level - 1)", count: 10).joined(separator: ",")
      text += "a\(level): &a\(level) [\(aliases)]\n"
    }
    let document = Document(text)
    #expect(document.root == nil)
    #expect(document.problems.map(\.message) == ["more than 100000 values, aliases counted in full"])
  }

  @Test func settingPutsInWhatIsMissing() throws {
    let root = try #require(Document("a: {b: 1}\n").root)
    let value = Node(.scalar("2", isPlain: true), mark: Mark(line: 1, column: 1))
    #expect(root.setting(["a", "b"], to: value)["a"]?["b"]?.string == "2")
    #expect(root.setting(["x", "y", "z"], to: value)["x"]?["y"]?["z"]?.string == "2")
    #expect(root.setting(["x", "y"], to: value)["a"]?["b"]?.string == "1")
  }

  @Test func everyPrefixAndEveryDamagedByteIsReadOrReported() {
    let text = "name: &n \"x\\n\"\nlist:\n  - {a: *n, b: [1, 'two']}\n  - |\n    block\n# end\n"
    let bytes = Array(text.utf8)
    for count in 0...bytes.count { _ = Document(String(decoding: bytes[..<count], as: UTF8.self)) }
    for index in bytes.indices {
      for byte in [0, 9, 10, 0x21, 0x26, 0x2A, 0x3A, 0x7B, 0xFF] as [UInt8] {
        var damaged = bytes
        damaged[index] = byte
        _ = Document(String(decoding: damaged, as: UTF8.self))
      }
    }
  }
}

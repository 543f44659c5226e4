import Foundation
import Mail
import Pipeline
import Testing

@testable import SpamScanStage
@testable import VirusScanStage

/// Both scanners, by what becomes of messages.
@Suite struct ScanTests {
  // MARK: Viruses

  // In two pieces, so that no scanner takes this file for it.
  private static let eicar = #"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD"# + "-ANTIVIRUS-TEST-FILE!$H+H*"

  private func mail(_ file: [UInt8], name: String = "file.bin") -> String {
    """
    From: s@sender.example\r
    Subject: a file\r
    MIME-Version: 1.0\r
    Content-Type: multipart/mixed; boundary=b\r
    \r
    --b\r
    \r
    See the file.\r
    --b\r
    Content-Type: application/octet-stream; name="\(name)"\r
    Content-Transfer-Encoding: base64\r
    \r
    \(Data(file).base64EncodedString(options: [.lineLength76Characters]))\r
    --b--\r

    """
  }

  private func scan(_ text: String, _ options: [String: OptionValue] = [:]) async throws -> Outcome {
    let harness = try await Harness()
    let stage = try VirusScanStage(
      VirusScanStage.Options(OptionValues(options, schema: VirusScanStage.Options.schema)))
    return try await stage.process(harness.message(text), harness.context("virus-scan"))
  }

  /// What a program of the system makes of some files.
  private func packed(_ command: String, _ files: [String: [UInt8]]) throws -> [UInt8] {
    let folder = NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for (name, bytes) in files { try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(name)")) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    process.arguments = ["-c", command]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(command)")
    return Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/out")))
  }

  private static let zip = "python3 -m zipfile -c out in*"
  private static let tar = "tar czf out in*"

  @Test func theTestFileIsADeadLetterHoweverItIsPacked() async throws {
    let file = Array(Self.eicar.utf8)
    #expect(try await scan(mail(file)).reason == "virus.Eicar-Test-Signature")
    #expect(try await scan(mail(file + [13, 10])).reason == "virus.Eicar-Test-Signature")
    for command in [Self.zip, Self.tar, "gzip -c in > out", "xz -c in > out"] {
      let once = try packed(command, ["in": file])
      #expect(try await scan(mail(once)).reason == "virus.Eicar-Test-Signature", "\(command)")
      let twice = try packed(Self.zip, ["in": once, "in2": [1, 2, 3]])
      #expect(try await scan(mail(twice)).reason == "virus.Eicar-Test-Signature", "\(command) in zip")
    }
    // Talking of it is not it.
    #expect(try await scan(mail(Array("The file begins \(Self.eicar) and so on".utf8))).forwarded != nil)
  }

  @Test func listsOfKnownFiles() async throws {
    // What begins with zeros reads as a tar that ends at once: packed or not, it is seen as it is.
    let bytes = [UInt8](repeating: 0, count: 4096) + Array("a harmful file".utf8)
    let gzip = try packed("gzip -c in > out", ["in": bytes])
    let folder = NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let digests = try packed("md5sum in | cut -c1-32 > out; sha256sum in | cut -c1-64 >> out", ["in": bytes])
    let lines = String(decoding: digests, as: UTF8.self).split(separator: "\n")
    let path = "\(folder)/known.hdb"
    for (text, reason) in [
      ("# known\n\(lines[0]):\(bytes.count):Bad.File\n", "virus.Bad.File"),
      ("\(lines[1]):*:Bad.Too\n", "virus.Bad.Too"),
      ("\(lines[1].uppercased())\n", "virus.Known.\(lines[1].prefix(12).uppercased())"),
      ("\(lines[0]):\(bytes.count + 1):Other.Size\n", nil),
    ] as [(String, String?)] {
      try text.write(toFile: path, atomically: true, encoding: .utf8)
      #expect(try await scan(mail(bytes), ["signatures": .list([path])]).reason == reason, "\(text)")
      #expect(try await scan(mail(gzip), ["signatures": .list([path])]).reason == reason, "\(text)")
    }
    try "nonsense\n".write(toFile: path, atomically: true, encoding: .utf8)
    await #expect(throws: SignatureError.self) { try await scan(mail(bytes), ["signatures": .list([path])]) }
  }

  @Test func dangerousFilesAreMarked() async throws {
    var program = [UInt8](repeating: 0, count: 256)
    program.replaceSubrange(0..<2, with: [0x4D, 0x5A])
    program[0x3C] = 0x80
    program.replaceSubrange(0x80..<0x82, with: [0x50, 0x45])
    let cases: [(String, [UInt8], String)] = [
      ("windows-program", program, "report.pdf"), ("linux-program", [0x7F, 0x45, 0x4C, 0x46, 2], "x"),
      ("script", Array("#!/bin/sh\nrm -rf /\n".utf8), "x"), ("file-name-js", Array("x".utf8), "Invoice.pdf.JS"),
      ("file-name-exe", Array("x".utf8), "a.exe. "), ("java-class", [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52], "x"),
      ("mac-program", [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 2], "x"), ("windows-help", Array("ITSF\u{3}".utf8), "x"),
      ("disk-image", [UInt8](repeating: 0, count: 0x8001) + Array("CD001\u{1}".utf8), "x.pdf"),
      ("file-name-js", try packed(Self.zip, ["in.js": [1]]), "a.zip"),
    ]
    for (kind, bytes, name) in cases {
      let message = try #require(try await scan(mail(bytes, name: name)).forwarded)
      #expect(message.annotation("virus-scan") == "dangerous \(kind)")
      #expect(message.annotation(MailAnnotations.spam) == "yes")
      #expect(try await scan(mail(bytes, name: name), ["dangerous": .text("reject")]).reason == "dangerous.\(kind)")
      #expect(
        try await scan(mail(bytes, name: name), ["dangerous": .text("pass")]).forwarded?.annotation("spam") == nil)
    }
    for (bytes, name) in [(Array("MZ is how it begins".utf8), "a.txt"), (Array("%PDF-1.4".utf8), "a.pdf")] {
      #expect(try await scan(mail(bytes, name: name)).forwarded?.annotation("virus-scan") == "clean")
    }
  }

  @Test func bombsAreBounded() async throws {
    let letters = [UInt8](repeating: 97, count: 8 << 20)
    let bomb = try packed("gzip -9 -c in > out", ["in": letters])
    #expect(bomb.count < 10_000)
    func kind(_ bytes: [UInt8], _ options: [String: OptionValue]) async throws -> String? {
      try await scan(mail(bytes, name: "a.zip"), options).forwarded?.annotation("virus-scan")
    }
    let limited = try await kind(bomb, ["max-unpacked": .integer(1 << 20)])
    #expect(limited == "dangerous archive-too-large")
    #expect(try await kind(bomb, [:]) == "dangerous archive-bomb")
    #expect(try await kind(bomb, ["max-ratio": .integer(2000)]) == "clean")
    let hurried = try await kind(
      bomb, ["max-ratio": .integer(2000), "max-unpack-time": .duration(.milliseconds(1))])
    #expect(hurried == "dangerous archive-too-slow")
    // Small ones may be as empty as they like.
    let table = try packed("gzip -9 -c in > out", ["in": Array(letters[..<1_000_000])])
    #expect(try await kind(table, [:]) == "clean")
    // Each layer of packing counts: what is between may be a thousand times what comes out.
    let members = try packed(
      "gzip -c /dev/null > one; python3 -c 'd=open(\"one\",\"rb\").read(); open(\"many\",\"wb\").write(d*200000)'; "
        + "gzip -9 -c many > out", [:])
    #expect(try await kind(members, [:]) == "dangerous archive-bomb")
    let wide = try packed(
      "for i in $(seq 12); do head -c 1000000 /dev/zero > in$i; done; python3 -c 'import glob, zipfile as z; "
        + "o=z.ZipFile(\"out\", \"w\", 8); [o.write(n) for n in glob.glob(\"in*\")]'", [:])
    #expect(try await kind(wide, [:]) == "dangerous archive-bomb")
    var nested = try packed(Self.zip, ["in": [1, 2, 3]])
    for _ in 0..<6 { nested = try packed(Self.zip, ["in.zip": nested]) }
    #expect(try await kind(nested, [:]) == "dangerous archive-too-deep")
    let many = try packed("for i in $(seq 300); do echo $i > in$i; done; \(Self.zip)", [:])
    #expect(try await kind(many, ["max-files": .integer(100)]) == "dangerous archive-too-many-files")
    let whole = try packed(Self.zip, ["in": (0..<5000).map { _ in UInt8.random(in: 0...255) }])
    #expect(try await kind(Array(whole.prefix(whole.count / 2)), [:]) == "dangerous archive-damaged")
  }

  @Test func aFileThatCallsItselfTextIsAFile() async throws {
    let program = [UInt8]([0x7F, 0x45, 0x4C, 0x46, 2])
    let text = mail(program).replacingOccurrences(of: "application/octet-stream", with: "text/plain")
    #expect(try await scan(text).forwarded?.annotation("virus-scan") == "dangerous linux-program")
    let unnamed = text.replacingOccurrences(of: "; name=\"file.bin\"", with: "")
    #expect(try await scan(unnamed).forwarded?.annotation("virus-scan") == "clean")
  }

  @Test func aScanThatIsCancelledEnds() async throws {
    let zip = try packed(Self.zip, ["in": Array("x".utf8)])
    let text = mail(zip)
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await scan(text)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  // MARK: Spam

  private func score(_ text: String, rules: String? = nil, _ change: (inout Message) -> Void = { _ in }) async throws
    -> (
      outcome: Outcome, message: Message?
    )
  {
    let harness = try await Harness()
    if let rules { try rules.write(toFile: "\(harness.folder)/spam-rules.yaml", atomically: true, encoding: .utf8) }
    let options = SpamScanStage.Options(OptionValues(schema: SpamScanStage.Options.schema))
    let stage = try SpamScanStage(options, dataFolder: harness.folder)
    var message = harness.message(text)
    change(&message)
    let outcome = try await stage.process(message, harness.context("spam-scan"))
    switch outcome {
    case .forward(let message), .route(_, let message): return (outcome, message)
    default: return (outcome, nil)
    }
  }

  @Test func ordinaryMailPassesAndSpamIsMarked() async throws {
    let ham = try #require(try await score(Harness.text).message)
    #expect(ham.annotation(MailAnnotations.spam) == nil)
    #expect(ham.annotation(MailAnnotations.traceHeaders)?.hasPrefix("X-Spam-Status: No, score=") == true)
    let spam = try await score(
      "From: \"bank@good.example\" <x@bad.example>\r\nSubject: YOU HAVE WON A CASH PRIZE!!!\r\n"
        + "Content-Type: text/html\r\n\r\n<p>You have\n  won. <a href='http://192.0.2.7/x'>www.good.example</a></p>\r\n"
    )
    guard case .route("spam", let message) = spam.outcome else {
      Issue.record("\(spam.outcome)")
      return
    }
    #expect(message.annotation(MailAnnotations.spam) == "yes")
    let rules = try #require(message.annotation("spam-rules")?.split(separator: " ").map(String.init))
    for rule in [
      "NO_DATE", "FROM_FEIGNS", "SUBJECT_CAPITALS", "SUBJECT_EXCLAIMS", "ONLY_HTML", "LINK_IP", "LINK_FEIGNS", "PRIZE",
    ] {
      #expect(rules.contains(rule), "\(rule): \(rules)")
    }
    let header = try #require(message.annotation(MailAnnotations.traceHeaders))
    #expect(header.hasPrefix("X-Spam-Status: Yes, score=") && header.contains("tests=NO_DATE,\r\n\t"))
  }

  @Test func rulesArePeoplesOwn() async throws {
    let rules = """
      rules:
        - {name: CATS, score: 6, in: subject, words: ["cat*"]}
        - {name: FRIENDS, score: -3, in: from, words: ["*@sender.example"], reason: we know them}
      """
    let text = Harness.text.replacingOccurrences(of: "Subject: Hi", with: "Subject: Caterpillars")
    let message = try #require(try await score(text, rules: rules).message)
    #expect(message.annotation("spam-score") == "3.0" && message.annotation("spam-rules") == "CATS FRIENDS")
    #expect(message.annotation(MailAnnotations.spam) == nil)
    // Who has proved who he is, is not scored.
    let ours = try #require(
      try await score(text, rules: rules) { $0.setAttribute("authenticated", "alice@example.com") }.message)
    #expect(ours.annotation("spam-score") == nil)
  }

  @Test func mistakesInRulesAreAllNamed() {
    let text = """
      rules:
        - {name: A, score: many, check: missing-date}
        - {name: B, score: 1, check: missing-cat}
        - {name: C, score: 1, words: [x], in: [subjekt]}
        - {name: D, score: 1}
        - {name: E, score: 1, words: ["*"], why: x}
      """
    let mistake = #expect(throws: SpamRules.Mistake.self) { try SpamRules(text, file: "r.yaml") }
    let lines = mistake?.description.split(separator: "\n").map(String.init) ?? []
    #expect(lines.count == 6 && lines[0].hasPrefix("r.yaml:2:") && lines[0].contains("needs a score"))
    #expect(lines.contains { $0.contains("there is no check `missing-cat`") })
    #expect(lines.contains { $0.contains("`in` takes one or more of subject, from") })
  }

  @Test func theBuiltInRulesAreGoodAndAreLeftForPeopleToChange() async throws {
    #expect(try SpamRules(SpamRules.builtIn, file: "built in").rules.count > 30)
    let harness = try await Harness()
    let options = SpamScanStage.Options(OptionValues(schema: SpamScanStage.Options.schema))
    _ = try SpamScanStage(options, dataFolder: harness.folder)
    let path = "\(harness.folder)/spam-rules.yaml"
    #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("# What makes mail look like spam"))
    try "rules: 7\n".write(toFile: path, atomically: true, encoding: .utf8)
    #expect(throws: SpamRules.Mistake.self) { try SpamScanStage(options, dataFolder: harness.folder) }
  }

  @Test(
    arguments: [
      ("cat", "a cat sat", true), ("cat", "concatenate", false), ("cat*", "Caterpillar", true),
      ("*cat", "concat it", true),
      ("you have  won", "You\r\n have won!", true), ("a b", "ab", false), ("aab", "aaab", false),
      ("*aab", "aaab", true),
      ("", "x", false), ("ü", "für", false), ("für", "FüR", true), ("x", "x", true),
    ])
  func phrases(_ phrase: String, _ text: String, _ isThere: Bool) {
    #expect(PhraseMatcher([phrase, "zzz"]).matches(PhraseMatcher.folded(text.utf8)) == (isThere ? [0] : []))
  }

  @Test func manyPhrasesAreFoundAsOneByOne() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      func word(_ most: Int) -> String {
        String((0..<Int.random(in: 1...most, using: &random)).map { _ in "ab ".randomElement(using: &random) ?? "a" })
      }
      let phrases = (0..<5).map { _ in "*\(word(3))*" }
      let text = PhraseMatcher.folded(word(40).utf8)
      let expected = phrases.indices.filter { PhraseMatcher([phrases[$0]]).matches(text) == [0] }
      #expect(PhraseMatcher(phrases).matches(text) == Set(expected), "\(phrases) in \(text)")
    }
  }
}

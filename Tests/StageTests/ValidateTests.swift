import Mail
import Pipeline
import Testing
import ValidateStage

@Suite struct ValidateTests {
  private func stage(_ harness: Harness, _ options: [String: OptionValue] = [:]) -> ValidateStage {
    let values = OptionValues(options, schema: ValidateStage.Options.schema)
    return ValidateStage(ValidateStage.Options(values), directory: harness.directory)
  }

  @Test func forwardsWhatIsMail() async throws {
    let harness = try await Harness()
    let outcome = try await stage(harness).process(harness.message(), harness.context("validate"))
    #expect(outcome.forwarded?.attribute("rcpt-to") == "alice@example.com")
    #expect(outcome.forwarded?.annotations.isEmpty == true)
  }

  @Test(
    arguments: [
      ("A: b\r\n\r\n\(String(repeating: "x", count: 2000))", ["max-size": .integer(1024)], "size"),
      (String(repeating: "Received: x\r\n", count: 51) + "\r\n", [:], "loop"),
      (String(repeating: "received: x\r\n", count: 50) + "\r\n", [:], nil),
      (String(repeating: "Received: x\r\n", count: 3) + "\r\n", ["max-hops": .integer(2)], "loop"),
      (String(repeating: "A: x\r\n", count: 2001) + "\r\n", [:], "header.too-large"),
      (
        "A: x\r\n" + String(repeating: " x\r\n", count: 2000) + "\r\n", ["max-header-size": .integer(4096)],
        "header.too-large"
      ),
      ("", [:], "syntax.header"),
      ("no field\r\n", [:], "syntax.header"),
      ("no field\r\n", ["headers": .text("off")], nil),
      ("A: b\u{0}\r\n\r\n", [:], "syntax.header"),
      ("A: b\rc\r\n\r\n", [:], "syntax.header"),
      ("A: b\n\nbody", [:], nil),
      ("A: b\r\n\r\nbody", ["headers": .text("strict")], "syntax.header"),
      ("A: b\r\nno empty line", [:], nil),
      (Harness.text, ["headers": .text("strict")], nil),
      ("Subject: é\r\n\r\n", [:], nil),
      ("Subject: é\r\n\r\n", ["eight-bit-headers": .boolean(false)], "header.8bit"),
    ] as [(String, [String: OptionValue], String?)])
  func refuses(_ text: String, _ options: [String: OptionValue], _ reason: String?) async throws {
    let harness = try await Harness()
    let outcome = try await stage(harness, options).process(harness.message(text), harness.context("validate"))
    #expect(outcome.reason == reason)
    #expect((outcome.forwarded == nil) == (reason != nil))
  }

  @Test(
    arguments: [
      (["alice@example.com", "bob@example.com"], nil, nil, "alice@example.com\nbob@example.com"),
      (["ALICE@example.com", "gone@example.com"], nil, nil, "ALICE@example.com"),
      (["gone@example.com"], nil, "recipient.unknown", nil),
      ([], nil, "recipient.missing", nil),
      (["x@elsewhere.example"], nil, "recipient.not-ours", nil),
      (["x@elsewhere.example", "alice@example.com"], nil, nil, "alice@example.com"),
      (["x@elsewhere.example"], "alice@example.com", nil, "x@elsewhere.example"),
      (["postmaster@example.com"], nil, nil, "postmaster@example.com"),
    ] as [([String], String?, String?, String?)])
  func checksRecipients(_ to: [String], _ authenticated: String?, _ reason: String?, _ kept: String?) async throws {
    let harness = try await Harness()
    let message = harness.message(to: to, authenticated: authenticated)
    let outcome = try await stage(harness).process(message, harness.context("validate"))
    #expect(outcome.reason == reason)
    #expect(outcome.forwarded?.attribute("rcpt-to") == kept)
  }

  @Test func namesRecipientsThatAreGone() async throws {
    let harness = try await Harness()
    let message = harness.message(to: ["alice@example.com", "x@example.com", "y@example.com"])
    let outcome = try await stage(harness).process(message, harness.context("validate"))
    #expect(outcome.forwarded?.annotation("recipients-gone") == "x@example.com y@example.com")
  }

  @Test func sizeIsRefusedWithoutLoading() async throws {
    let harness = try await Harness()
    var message = harness.message()
    message.content = BrokenContentStore(error: .permanent("content.missing", "")).content(of: 1 << 30)
    let outcome = try await stage(harness).process(message, harness.context("validate"))
    #expect(outcome.reason == "size")
  }

  @Test func waitsWhileTheDirectoryIsAway() async throws {
    let harness = try await Harness()
    await harness.store.close()
    await #expect {
      try await stage(harness).process(harness.message(), harness.context("validate"))
    } throws: { ($0 as? StageError)?.kind == .dependencyDown("mail store") }
    await #expect { try await stage(harness).probe() } throws: { $0 is StageError }
  }

  @Test func registers() async throws {
    let harness = try await Harness()
    var registry = StageRegistry()
    ValidateStage.register(in: &registry, directory: harness.directory)
    let entry = try #require(registry["validate"])
    #expect(entry.options["max-hops"]?.defaultValue == .integer(50))
  }
}

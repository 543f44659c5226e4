import Network
import Pipeline
import Testing

@testable import SMTPGateway

@Suite struct AdmissionTests {
  private func admission(perAddress: Int = 1, memory: Int = 0) -> SMTPAdmission {
    SMTPAdmission(maximumPerAddress: perAddress, maximumMemory: memory)
  }
  private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

  @Test func connectionsAreLimitedByAddress() throws {
    let admission = admission(perAddress: 2)
    #expect(admission.enter(try address("192.0.2.1")))
    #expect(admission.enter(try address("192.0.2.1")))
    #expect(!admission.enter(try address("192.0.2.1")))
    #expect(!admission.enter(try address("::ffff:192.0.2.1")))
    #expect(admission.enter(try address("192.0.2.2")))
    admission.leave(try address("192.0.2.1"))
    #expect(admission.enter(try address("192.0.2.1")))
    #expect(!admission.enter(try address("192.0.2.1")))
  }

  @Test func anIPv6NetworkIsOneClient() throws {
    let admission = admission()
    #expect(admission.enter(try address("2001:db8::1")))
    #expect(!admission.enter(try address("2001:db8::2")))
    #expect(admission.enter(try address("2001:db8:0:1::1")))
  }

  @Test(arguments: ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
  func loopbackIsNotCounted(_ text: String) throws {
    let admission = admission()
    for _ in 0..<3 { #expect(admission.enter(try address(text))) }
  }

  @Test func memoryIsLimited() {
    let admission = admission(memory: 100)
    #expect(admission.reserve(60))
    #expect(!admission.reserve(41))
    #expect(admission.reserve(40))
    #expect(admission.reserve(-60))
    #expect(admission.reserve(60))
  }

  @Test(arguments: ["", "mx example.com", "mx.example.com\r\nX: y", "mx..example.com", "[192.0.2.1]"])
  func hostnamesAreChecked(_ name: String) {
    let values = OptionValues(["hostname": .text(name)], schema: SMTPGatewayOptions.schema)
    #expect(throws: SMTPGatewayOptions.Mistake.self) { try SMTPGatewayOptions(values) }
  }

  @Test func theLargestMessageMustFitTheMemory() throws {
    let values = OptionValues(
      ["max-message-size": .integer(3 << 20), "max-memory": .integer(2 << 20)], schema: SMTPGatewayOptions.schema)
    #expect(throws: SMTPGatewayOptions.Mistake.self) { try SMTPGatewayOptions(values) }
  }

  @Test func optionsFillASession() throws {
    let values = OptionValues(
      [
        "max-message-size": .integer(2048), "max-recipients": .integer(7), "max-errors": .integer(3),
        "max-commands": .integer(11), "command-timeout": .duration(.seconds(4)), "data-timeout": .duration(.seconds(5)),
        "message-timeout": .duration(.seconds(6)), "hostname": .text("mx.example.com"),
      ], schema: SMTPGatewayOptions.schema)
    let configuration = try SMTPGatewayOptions(values).sessionConfiguration(
      hostname: "default", postmasterDomain: "example.com")
    var expected = SMTPSessionConfiguration(hostname: "mx.example.com")
    expected.postmasterDomain = "example.com"
    expected.maximumMessageSize = 2048
    expected.maximumRecipients = 7
    expected.maximumErrors = 3
    expected.maximumIdleCommands = 11
    expected.timeLimits.command = .seconds(4)
    expected.timeLimits.dataStart = .seconds(5)
    expected.timeLimits.dataBlock = .seconds(5)
    expected.timeLimits.message = .seconds(6)
    #expect(configuration == expected)
    #expect(
      SMTPGatewayOptions().sessionConfiguration(hostname: "h", postmasterDomain: nil)
        == SMTPSessionConfiguration(hostname: "h"))
  }
}

import Network
import Pipeline
import Testing

@testable import SMTPGateway

@Suite struct AdmissionTests {
  @Test func memoryIsLimited() {
    let admission = SMTPAdmission(maximumPerAddress: 1, maximumMemory: 100)
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

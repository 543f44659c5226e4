import Network
import Pipeline
import Testing

@testable import SMTPGateway

@Suite struct AdmissionTests {
  @Test func memoryIsLimited() {
    var options = SMTPGatewayOptions()
    options.maximumMemory = 100
    let admission = SMTPAdmission(options)
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

  @Test func loadBalancersAreChecked() throws {
    func proxies(_ text: String) throws -> [IPNetwork] {
      try SMTPGatewayOptions(OptionValues(["proxy-protocol": .list([text])], schema: SMTPGatewayOptions.schema)).proxies
    }
    #expect(try proxies("10.0.0.0/8") == [IPNetwork("10.0.0.0/8")])
    for wrong in ["10.0.0.1/8", "lb.example.com", "10.0.0.0/33", ""] {
      #expect(throws: SMTPGatewayOptions.Mistake.self) { try proxies(wrong) }
    }
  }

  @Test func delaysGrowToALimit() {
    let tarpit = SMTPSessionConfiguration.Tarpit()
    let delays = [0, 4, 5, 6, 7, 8, 9, 10, 1000].map { tarpit.delay($0).components }
    #expect(delays.map { Double($0.seconds) + Double($0.attoseconds) / 1e18 } == [0, 0, 0.5, 1, 2, 4, 8, 10, 10])
  }

  @Test func whoWaitsIsCounted() {
    var options = SMTPGatewayOptions()
    options.maximumConnections = 8
    let admission = SMTPAdmission(options)
    #expect((0..<3).map { _ in admission.beginWaiting() } == [true, true, false])
    admission.endWaiting()
    #expect(admission.beginWaiting())
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
        "message-timeout": .duration(.seconds(6)), "max-messages": .integer(8), "tarpit-after": .integer(1),
        "tarpit-delay": .duration(.seconds(2)), "tarpit-longest": .duration(.seconds(9)),
        "hostname": .text("mx.example.com"),
      ], schema: SMTPGatewayOptions.schema)
    let configuration = try SMTPGatewayOptions(values).sessionConfiguration(
      hostname: "default", postmasterDomain: "example.com")
    var expected = SMTPSessionConfiguration(hostname: "mx.example.com")
    expected.postmasterDomain = "example.com"
    expected.maximumMessageSize = 2048
    expected.maximumRecipients = 7
    expected.maximumErrors = 3
    expected.maximumIdleCommands = 11
    expected.maximumMessages = 8
    expected.tarpit?.free = 1
    expected.tarpit?.first = .seconds(2)
    expected.tarpit?.longest = .seconds(9)
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

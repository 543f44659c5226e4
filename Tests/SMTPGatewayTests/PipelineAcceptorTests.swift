import Mail
import Pipeline
import PipelineTesting
import SMTPGateway
import Testing

@Suite struct PipelineAcceptorTests {
  private let clock = ManualClock(Timestamp(milliseconds: 1_795_512_600_125))
  private let broker: MemoryBroker
  private let topology: Topology

  init() async throws {
    broker = MemoryBroker(clock: clock)
    topology = Topology(
      name: "mail", flows: [Topology.Flow("inbound", from: ["smtp"], stages: [Topology.StageSettings("validate")])])
    try await broker.create(PipelineService.specifications(topology))
  }

  private func acceptor() throws -> PipelineAcceptor {
    let intake = try #require(
      Intake(
        source: "smtp", topology: topology, broker: broker, clock: clock, random: SystemRandom(), contentStore: nil))
    return PipelineAcceptor(intake, hostname: "mx.example.com", log: Log(clock: clock) { _ in })
  }

  private func mail(_ recipients: String, from: String = "<a@example.org>", address: String = "192.0.2.1")
    -> Conversation
  {
    var talk = Conversation(remoteAddress: address)
    talk.now = clock.now
    talk.greet()
    talk.send("MAIL FROM:\(from) BODY=8BITMIME\r\n")
    for recipient in recipients.split(separator: " ") { talk.send("RCPT TO:<\(recipient)>\r\n") }
    talk.send("DATA\r\nMessage-ID: <m1@x>\r\nSubject: \u{e9}\r\n\r\n..x\r\n.\r\n")
    return talk
  }

  private func stored() async throws -> Message {
    let topic = topology.topics("inbound", topology.flows[0].stages[0]).work
    let records = try await broker.read(TopicPartition(topic, 0), from: 0, limit: 10)
    #expect(records.count == 1)
    return try MessageCodec.decode(try #require(records.first), store: nil)
  }

  @Test func mailIsDurableBeforeItIsAccepted() async throws {
    let mail = try #require(mail("b@example.com").mails.first)
    guard case .accepted(let id) = try await acceptor().accept(mail) else {
      Issue.record("not accepted")
      return
    }
    let message = try await stored()
    #expect(message.id.description == id)
    #expect(message.flow == "inbound")
    #expect(message.source == "smtp")
    #expect(
      Envelope(message)
        == Envelope(
          sender: EmailAddress("a@example.org"), recipients: [EmailAddress("b@example.com")].compactMap { $0 },
          helo: "client.example.org", remoteAddress: "192.0.2.1", protocolName: "ESMTP", isEightBit: true,
          receivedBy: "mx.example.com"))
    #expect(message.annotation(MailAnnotations.messageID) == "m1@x")
    #expect(try await message.content.load().text == "Message-ID: <m1@x>\r\nSubject: \u{e9}\r\n\r\n.x\r\n")
  }

  @Test(arguments: [
    (BrokerError.Kind.unavailable, AcceptResult.unavailable), (.storageFull, .storageFull),
    (.unknownResult, .unavailable), (.closed, .unavailable), (.cancelled, .unavailable),
  ])
  func aBrokerThatRefusesIsAnsweredAsSuch(_ kind: BrokerError.Kind, _ result: AcceptResult) async throws {
    let mail = try #require(mail("b@example.com").mails.first)
    broker.fail(with: BrokerError(kind, "test"))
    #expect(try await acceptor().accept(mail) == result)
    broker.fail(with: nil)
    guard case .accepted = try await acceptor().accept(mail) else {
      Issue.record("does not resume")
      return
    }
  }
}

import Foundation
import Mail
import Pipeline
import PipelineTesting
import Testing

/// A mailbox store in a folder of its own, with alice and bob of example.com, and what stages are told.
final class Harness: Sendable {
  let folder: String
  let store: MailStore
  let directory: MailDirectory
  let clock = ManualClock()

  init() async throws {
    folder = NSTemporaryDirectory() + "mailflow-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    store = MailStore(folder: folder, mode: .inline)
    directory = MailDirectory(store: store, domains: ["example.com"])
    _ = try await user("alice")
    _ = try await user("bob")
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  @discardableResult
  func user(_ name: String, quota: Int64? = nil) async throws -> Mailbox {
    try await store.addUser(try #require(EmailAddress("\(name)@example.com")), quota: quota).user.mailbox
  }

  func context(_ stage: String) -> StageContext {
    StageContext(
      stage: StageName(flow: "inbound", stage: stage), clock: clock, deadline: clock.now + .seconds(30),
      log: Log(clock: clock) { _ in }, metrics: Metrics())
  }

  func message(
    _ text: String = Harness.text, to recipients: [String] = ["alice@example.com"],
    from sender: String = "s@sender.example",
    authenticated: String? = nil, id: MessageID? = nil
  ) -> Message {
    let envelope = Envelope(
      sender: EmailAddress(sender), recipients: recipients.compactMap { EmailAddress($0) }, helo: "mx.sender.example",
      remoteAddress: "192.0.2.1", receivedBy: "mail.example.com",
      authenticated: authenticated.flatMap { EmailAddress($0) })
    return Message(
      id: id ?? MessageID(at: clock.now, random: SystemRandom()), flow: "inbound", source: "smtp",
      contentType: "message/rfc822", content: Content(Bytes(text)), attributes: envelope.attributes)
  }

  static let text =
    "From: s@sender.example\r\nTo: alice@example.com\r\nDate: Tue, 24 Nov 2026 09:30:00 +0100\r\nSubject: Hi\r\n"
    + "Message-ID: <1@sender.example>\r\n\r\nHello\r\n"
}

/// A content store that is away, or has lost everything.
struct BrokenContentStore: ContentStore {
  let error: StageError
  func put(_ bytes: Bytes) async throws -> ContentReference { throw error }
  func get(_ reference: ContentReference) async throws -> Bytes { throw error }
  func content(of size: Int) -> Content {
    Content(.reference(ContentReference(digest: String(repeating: "0", count: 64), size: size), self))
  }
}

extension Outcome {
  /// The reason of a refusal; nil for any other outcome.
  var reason: String? { if case .reject(let reason, _) = self { reason } else { nil } }
  /// The message that goes on; nil for any other outcome.
  var forwarded: Message? { if case .forward(let message) = self { message } else { nil } }
  /// The parts of a split; nil for any other outcome.
  var parts: (parts: [Part], continuation: Continuation)? {
    if case .split(let parts, let continuation) = self { (parts, continuation) } else { nil }
  }
}

extension Part {
  /// An attribute that is set on the part.
  func attribute(_ name: String) -> String? { attributes.last { $0.name == name }?.value }
}

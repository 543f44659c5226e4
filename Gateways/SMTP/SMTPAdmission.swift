import Network
public import Pipeline
import Synchronization

/// What all connections of a gateway share: how many there are by client, what each client does in a time, the memory of
/// arriving messages, and how many clients are made to wait.
final class SMTPAdmission: Sendable {
  let clients: ClientCounter
  private let connections: ClientRates
  private let messages: ClientRates
  private let recipients: ClientRates
  private let shared = Mutex((memory: 0, waiting: 0))
  private let maximumMemory: Int
  private let maximumWaiting: Int
  private let countsLoopback: Bool

  init(_ options: SMTPGatewayOptions) {
    let countsLoopback = options.limitsLoopback
    self.countsLoopback = countsLoopback
    func rates(_ limit: Int) -> ClientRates { ClientRates(limit: limit, countsLoopback: countsLoopback) }
    clients = ClientCounter(limit: options.maximumConnectionsPerAddress, countsLoopback: countsLoopback)
    connections = rates(options.connectionsPerMinute)
    messages = rates(options.messagesPerMinute)
    recipients = rates(options.recipientsPerMinute)
    maximumMemory = options.maximumMemory
    maximumWaiting = max(1, options.maximumConnections / 4)
  }

  /// Whether limits count this client.
  func limits(_ client: IPAddress) -> Bool { countsLoopback || !client.isLoopback }

  /// Whether this client may open another connection now.
  func mayConnect(_ client: IPAddress, at now: Timestamp) -> Bool { connections.take(client, at: now.microseconds) }

  /// What is left to `client`.
  func allowance(of client: IPAddress) -> any SMTPAllowance { Allowance(admission: self, client: client) }

  private struct Allowance: SMTPAllowance {
    let admission: SMTPAdmission
    let client: IPAddress

    func takeMessage(at now: Timestamp) -> Bool { admission.messages.take(client, at: now.microseconds) }
    func takeRecipient(at now: Timestamp) -> Bool { admission.recipients.take(client, at: now.microseconds) }
  }

  /// Takes octets of memory, or gives them back if negative; false if there is not enough, and then none was taken.
  func reserve(_ octets: Int) -> Bool {
    shared.withLock { shared in
      guard octets <= 0 || shared.memory + octets <= maximumMemory else { return false }
      shared.memory += octets
      return true
    }
  }

  /// Counts a client that is made to wait; false if there are enough of them: it is better sent away.
  func beginWaiting() -> Bool {
    shared.withLock { shared in
      guard shared.waiting < maximumWaiting else { return false }
      shared.waiting += 1
      return true
    }
  }

  func endWaiting() { shared.withLock { $0.waiting -= 1 } }
}

/// What a client may still do in the present time, whatever its connection; asked once for each thing that it does.
public protocol SMTPAllowance: Sendable {
  /// Whether it may begin another message.
  func takeMessage(at now: Timestamp) -> Bool
  /// Whether it may name another recipient.
  func takeRecipient(at now: Timestamp) -> Bool
}

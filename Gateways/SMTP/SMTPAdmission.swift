import Network
import Synchronization

/// Counts what all connections of a gateway share: how many there are by client, and the memory of arriving messages.
final class SMTPAdmission: Sendable {
  let clients: ClientCounter
  private let memory = Mutex(0)
  private let maximumMemory: Int

  init(maximumPerAddress: Int, maximumMemory: Int) {
    clients = ClientCounter(limit: maximumPerAddress)
    self.maximumMemory = maximumMemory
  }

  /// Takes octets of memory, or gives them back if negative; false if there is not enough, and then none was taken.
  func reserve(_ octets: Int) -> Bool {
    memory.withLock { memory in
      guard octets <= 0 || memory + octets <= maximumMemory else { return false }
      memory += octets
      return true
    }
  }
}

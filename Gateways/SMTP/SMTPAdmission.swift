import Network
import Synchronization

/// Counts what all connections of a gateway share: how many there are by address, and the memory of arriving messages.
final class SMTPAdmission: Sendable {
  private struct State {
    var byNetwork: [[UInt8]: Int] = [:]
    var memory = 0
  }
  private let state = Mutex(State())
  private let maximumPerAddress: Int
  private let maximumMemory: Int

  init(maximumPerAddress: Int, maximumMemory: Int) {
    self.maximumPerAddress = maximumPerAddress
    self.maximumMemory = maximumMemory
  }

  /// Counts a connection; false if it is one too many, and then it is not counted.
  func enter(_ address: IPAddress) -> Bool {
    guard let network = Self.network(of: address) else { return true }
    return state.withLock { state in
      guard state.byNetwork[network, default: 0] < maximumPerAddress else { return false }
      state.byNetwork[network, default: 0] += 1
      return true
    }
  }

  /// Ends what `enter` counted.
  func leave(_ address: IPAddress) {
    guard let network = Self.network(of: address) else { return }
    state.withLock { state in
      guard let count = state.byNetwork[network] else { return }
      state.byNetwork[network] = count > 1 ? count - 1 : nil
    }
  }

  /// Takes octets of memory, or gives them back if negative; false if there is not enough, and then none was taken.
  func reserve(_ octets: Int) -> Bool {
    state.withLock { state in
      guard octets <= 0 || state.memory + octets <= maximumMemory else { return false }
      state.memory += octets
      return true
    }
  }

  /// What is counted as one client: an IPv4 address, or the /64 that an IPv6 provider hands to one site. Nil for loopback,
  /// which is not counted.
  private static func network(of address: IPAddress) -> [UInt8]? {
    if address.isLoopback { return nil }
    return address.isIPv6 ? Array(address.bytes.prefix(8)) : address.bytes
  }
}

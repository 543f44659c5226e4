import Synchronization

/// Counts the connections of each client, so that none takes all there are.
///
/// A client is an IPv4 address, or the /64 that an IPv6 provider hands to one site. Loopback is not counted.
public final class ClientCounter: Sendable {
  private let counts = Mutex<[[UInt8]: Int]>([:])
  private let limit: Int
  private let countsLoopback: Bool

  /// Lets each client have `limit` connections.
  public convenience init(limit: Int) { self.init(limit: limit, countsLoopback: false) }

  init(limit: Int, countsLoopback: Bool) {
    self.limit = limit
    self.countsLoopback = countsLoopback
  }

  /// Counts a connection; false if it is one too many, and then it is not counted.
  public func enter(_ address: IPAddress) -> Bool {
    guard let client = client(address) else { return true }
    return counts.withLock { counts in
      guard counts[client, default: 0] < limit else { return false }
      counts[client, default: 0] += 1
      return true
    }
  }

  /// Ends what `enter` counted.
  public func leave(_ address: IPAddress) {
    guard let client = client(address) else { return }
    counts.withLock { counts in
      guard let count = counts[client] else { return }
      counts[client] = count > 1 ? count - 1 : nil
    }
  }

  private func client(_ address: IPAddress) -> [UInt8]? {
    if address.isLoopback && !countsLoopback { return nil }
    return address.isIPv6 ? Array(address.bytes.prefix(8)) : address.bytes
  }
}

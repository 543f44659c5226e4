import Synchronization

/// Whom limits for each client count as one: an IPv4 address, or the /64 that an IPv6 provider hands to one site.
struct ClientKey: Hashable, Sendable {
  private let bits: UInt64
  private let isIPv6: Bool

  init(_ address: IPAddress) {
    isIPv6 = address.isIPv6
    bits = address.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
  }
}

/// Counts the connections of each client, so that none takes all there are.
///
/// A client is an IPv4 address, or the /64 that an IPv6 provider hands to one site. Loopback is not counted unless told.
public final class ClientCounter: Sendable {
  private let counts = Mutex<[ClientKey: Int]>([:])
  private let limit: Int
  private let countsLoopback: Bool

  /// Lets each client have `limit` connections.
  public init(limit: Int, countsLoopback: Bool = false) {
    self.limit = limit
    self.countsLoopback = countsLoopback
  }

  /// Counts a connection; false if it is one too many, and then it is not counted.
  public func enter(_ address: IPAddress) -> Bool {
    guard countsLoopback || !address.isLoopback else { return true }
    let client = ClientKey(address)
    return counts.withLock { counts in
      guard counts[client, default: 0] < limit else { return false }
      counts[client, default: 0] += 1
      return true
    }
  }

  /// Ends what `enter` counted.
  public func leave(_ address: IPAddress) {
    guard countsLoopback || !address.isLoopback else { return }
    let client = ClientKey(address)
    counts.withLock { counts in
      guard let count = counts[client] else { return }
      counts[client] = count > 1 ? count - 1 : nil
    }
  }
}

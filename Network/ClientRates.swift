import Synchronization

/// Limits how often each client may do something: `limit` times in `period`, at once or spread over it.
///
/// Remembers one number for each client that was seen within a period, of at most `clients`. While there are more, those
/// that come new share one allowance: neither memory nor what they may do grows with how many addresses somebody has.
/// For what a client is see `ClientCounter`; loopback is not limited unless told.
public final class ClientRates: Sendable {
  private struct State {
    /// When what a client has had is used up, in microseconds.
    var paid: [ClientKey: Int64] = [:]
    var strangers = Int64.min
    var nextCleaning = Int64.min
  }
  private let state = Mutex(State())
  private let price: Int64
  private let period: Int64
  private let clients: Int
  private let countsLoopback: Bool
  /// Whether there is a limit at all.
  private let isLimited: Bool

  /// Lets each client do it `limit` times a `period`; 0: as often as it likes.
  public init(limit: Int, period: Duration = .seconds(60), clients: Int = 65_536, countsLoopback: Bool = false) {
    let (seconds, attoseconds) = period.components
    self.period = max(1, seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    price = max(1, self.period / Int64(max(1, limit)))
    self.clients = clients
    self.countsLoopback = countsLoopback
    isLimited = limit > 0
  }

  /// Clients that are remembered now.
  var remembered: Int { state.withLock { $0.paid.count } }

  /// Counts one time; false if it is one too many, and then it is not counted.
  ///
  /// - Parameter now: microseconds of a clock that does not go backwards.
  public func take(_ address: IPAddress, at now: Int64) -> Bool {
    guard isLimited, countsLoopback || !address.isLoopback else { return true }
    let client = ClientKey(address)
    return state.withLock { state in
      let known = state.paid[client]
      if known == nil, state.paid.count >= clients { clean(&state, now) }
      let isStranger = known == nil && state.paid.count >= clients
      let paid = max(now, known ?? (isStranger ? state.strangers : now)) + price
      guard paid - now <= period else { return false }
      if isStranger { state.strangers = paid } else { state.paid[client] = paid }
      return true
    }
  }

  /// Forgets whom nothing is held against any more; not again soon if that was nobody, since it looks at all of them.
  private func clean(_ state: inout State, _ now: Int64) {
    guard now >= state.nextCleaning else { return }
    state.paid = state.paid.filter { $0.value > now }
    state.nextCleaning = now + period / 8
  }
}

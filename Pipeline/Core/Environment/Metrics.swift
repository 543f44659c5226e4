import Synchronization

/// Counters of one process, by name and labels; see `snapshot`.
public final class Metrics: Sendable {
  private let counters = Mutex<[String: Int]>([:])

  /// No counter yet.
  public init() {}

  /// Adds to a counter, such as `mailflow_messages_total{stage="store"}`.
  public func add(_ name: String, _ amount: Int = 1) {
    counters.withLock { counters in
      let (sum, overflow) = counters[name, default: 0].addingReportingOverflow(amount)
      counters[name] = overflow ? .max : sum
    }
  }

  /// Every counter, sorted by name.
  public var snapshot: [(name: String, value: Int)] {
    counters.withLock { counters in counters.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 } }
  }
}

import Pipeline
import Synchronization

/// The sign of life of one process (one `EmbeddedBroker`), and its watch on those of the others.
///
/// Clocks of different processes are never compared: another one is silent when its beat has not *changed* for a lease
/// by the clock of this one.
final class Heart: Sendable {
  private struct State {
    var isBeating = false
    var seen: [(beat: BrokerStore.Beat, since: Timestamp)] = []
  }
  private let state = Mutex(State())
  /// What this process is called in the store.
  let session: Int64

  init(session: Int64) { self.session = session }

  /// Whether a consumer has joined: before that there is nothing to keep alive.
  var isBeating: Bool {
    get { state.withLock { $0.isBeating } }
    set { state.withLock { $0.isBeating = newValue } }
  }

  /// Within a transaction.
  func beat(_ store: BrokerStore, at now: Timestamp) throws(BrokerError) {
    let (isBeating, silent) = state.withLock { state in
      (state.isBeating, state.seen.filter { now - $0.since >= store.settings.lease }.map(\.beat))
    }
    guard isBeating else { return }
    let beats = try store.beat(session, silent: silent)
    state.withLock { state in
      state.seen = beats.map { beat in
        let since = state.seen.first { $0.beat == beat }?.since
        return (beat, since ?? now)
      }
    }
  }
}

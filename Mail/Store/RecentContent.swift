import Pipeline
import Synchronization

/// Content that was verified in this process and asked for lately, by its digest: it is neither read nor hashed again.
///
/// Bounded: the younger half takes what is new or asked for again, and becomes the older half when it is full.
final class RecentContent: Sendable {
  private struct State {
    var young: [[UInt8]: Bytes] = [:]
    var old: [[UInt8]: Bytes] = [:]
    var bytes = 0  // of the young ones
  }
  private let state = Mutex(State())
  private let half: Int

  /// Keeps at most about `limit` bytes.
  init(limit: Int = 8 << 20) { half = limit / 2 }

  func find(_ digest: [UInt8]) -> Bytes? {
    state.withLock { state in
      if let bytes = state.young[digest] { return bytes }
      guard let bytes = state.old.removeValue(forKey: digest) else { return nil }
      keep(bytes, digest, &state)
      return bytes
    }
  }

  func keep(_ bytes: Bytes, _ digest: [UInt8]) {
    state.withLock { keep(bytes, digest, &$0) }
  }

  private func keep(_ bytes: Bytes, _ digest: [UInt8], _ state: inout State) {
    let cost = bytes.count + 200
    guard cost <= half / 4, state.young.updateValue(bytes, forKey: digest) == nil else { return }
    state.bytes += cost
    if state.bytes > half { (state.old, state.young, state.bytes) = (state.young, [:], 0) }
  }
}

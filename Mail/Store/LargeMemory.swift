import Pipeline
import Synchronization

/// Memory for large content that is being read, or sent: limited together, however many ask.
final class LargeMemory: Sendable {
  private let taken = Mutex(0)
  private let limit: Int

  /// At most `limit` bytes.
  init(limit: Int) { self.limit = limit }

  /// A share for content of `size` bytes, and twice as much for what is made of it, such as a part that is decoded and
  /// copied; given back when nobody has it any more. Nil: there is not that much. Whoever is alone gets it whatever its size.
  func share(for size: Int) -> Share? {
    let wanted = 3 * Self.bounded(size)
    let isTaken = taken.withLock { taken in
      guard taken == 0 || wanted <= limit - taken else { return false }
      taken += wanted
      return true
    }
    return isTaken ? Share(self, wanted) : nil
  }

  /// What a damaged row says is no number to count with.
  private static func bounded(_ size: Int) -> Int { max(0, min(size, 1 << 40)) }

  /// What `size` bytes take that are there already.
  func hold(_ size: Int) -> Share {
    let size = Self.bounded(size)
    taken.withLock { $0 += size }
    return Share(self, size)
  }

  final class Share: Sendable {
    private let memory: LargeMemory
    private let size: Int

    fileprivate init(_ memory: LargeMemory, _ size: Int) { (self.memory, self.size) = (memory, size) }

    deinit { memory.taken.withLock { $0 -= size } }
  }
}

extension Bytes {
  /// The same, which keep `share` for as long as somebody has any of them.
  func keeping(_ share: LargeMemory.Share?) -> Bytes {
    guard let share else { return self }
    final class Both: Sendable {
      let bytes: Bytes
      let share: LargeMemory.Share
      init(_ bytes: Bytes, _ share: LargeMemory.Share) { (self.bytes, self.share) = (bytes, share) }
    }
    let both = Both(self, share)
    return withUnsafeBytes { Bytes(unowned: $0, keeping: both) }
  }
}

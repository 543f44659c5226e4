/// When a failed message is tried again, and when it is given up.
///
/// The clock that counts towards `giveUp` is the sum of the delays that its failures cost. So time in which the stage's
/// circuit was open, or in which a backlog kept the message waiting, is not held against it.
struct RetrySchedule: Sendable {
  let delays: [Duration]
  let giveUp: Duration

  enum Decision: Sendable, Equatable {
    /// Into the retry topic of this index, for this delay.
    case again(topic: Int, delay: Duration)
    case giveUp
  }

  /// - Parameters:
  ///   - failures: including this one, so 1 and up.
  ///   - spent: the delays of the failures before.
  ///   - after: what the stage asked for; the next longer topic is taken, or the longest.
  func decide(failures: Int, spent: Duration, after: Duration?) -> Decision {
    guard !delays.isEmpty else { return .giveUp }
    var index = min(max(failures, 1) - 1, delays.count - 1)
    if let after { index = delays.firstIndex { $0 >= after } ?? delays.count - 1 }
    let delay = delays[index]
    guard spent + delay <= giveUp else { return .giveUp }
    return .again(topic: index, delay: delay)
  }
}

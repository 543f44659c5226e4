import CEvent
import Glibc

/// Is told when a timer is due, on the base's thread.
public protocol TimerHandler: AnyObject {
  /// The time has come. May cancel or start the timer.
  func timerFired()
}

/// A timer that fires once after each `start`. Keeps its handler alive until `cancel`.
public final class EventTimer {
  private let base: EventBase  // outlives its events
  private var event: OpaquePointer?
  private var handler: (any TimerHandler)?

  /// Makes one that is not running. Throws when memory is short.
  public init(_ base: EventBase, handler: any TimerHandler) throws(EventError) {
    self.base = base
    self.handler = handler
    let event = event_new(
      base.base, -1, 0,
      { _, _, context in
        guard let context else { return }
        let timer = Unmanaged<EventTimer>.fromOpaque(context).takeUnretainedValue()
        timer.handler?.timerFired()
      }, Unmanaged.passUnretained(self).toOpaque())
    guard let event else { throw EventError(reason: "no memory for a timer") }
    self.event = event
  }

  /// Fires in `milliseconds`, at least one; an earlier start is forgotten.
  public func start(milliseconds: Int64) {
    guard let event else { return }
    let milliseconds = Swift.min(Swift.max(1, milliseconds), 4_000_000_000)
    var time = timeval(tv_sec: Int(milliseconds / 1000), tv_usec: Int(milliseconds % 1000) * 1000)
    event_add(event, &time)
  }

  /// Does not fire until it is started again.
  public func stop() {
    if let event { event_del(event) }
  }

  /// Ends it for good, before the last reference goes.
  public func cancel() {
    guard let event else { return }
    self.event = nil
    handler = nil
    event_free(event)
  }

  deinit {
    assert(event == nil, "an EventTimer was dropped before cancel()")
  }
}

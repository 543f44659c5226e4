import CEvent
import Glibc

/// A set of descriptors and timers that one thread waits for: an event base of libevent, without locks.
///
/// Every method, and those of the watches and timers made from it, are called on the thread that runs the base.
public final class EventBase {
  let base: OpaquePointer

  /// libevent's `event_base`, for the faces of libraries that run on one.
  public var native: OpaquePointer { base }

  /// Makes an empty one. Throws when the system has no descriptor or memory left, or lacks edge triggering.
  public init() throws(EventError) {
    guard let configuration = event_config_new() else { throw EventError(reason: "no memory for an event base") }
    defer { event_config_free(configuration) }
    event_config_set_flag(configuration, Int32(EVENT_BASE_FLAG_NOLOCK.rawValue))
    event_config_require_features(configuration, Int32(EV_FEATURE_ET.rawValue | EV_FEATURE_EARLY_CLOSE.rawValue))
    guard let base = event_base_new_with_config(configuration) else {
      throw EventError(reason: "libevent cannot make an event base: \(String(cString: strerror(errno)))")
    }
    self.base = base
  }

  deinit {
    event_base_free(base)
  }

  /// Calls the handlers of what is ready; if nothing is, waits for the first when `wait` says so.
  public func runOnce(wait: Bool) {
    event_base_loop(base, wait ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK)
  }
}

/// libevent refused, which happens only when descriptors or memory are short.
public struct EventError: Error, Sendable, CustomStringConvertible {
  /// What it could not do.
  public let reason: String
  /// The reason.
  public var description: String { reason }
}

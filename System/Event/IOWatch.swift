import CEvent

/// What a descriptor is ready for.
public struct Readiness: OptionSet, Sendable {
  /// The bits.
  public let rawValue: Int16
  /// From bits.
  public init(rawValue: Int16) {
    self.rawValue = rawValue
  }

  /// Bytes, a connection or the end can be read.
  public static let read = Readiness(rawValue: Int16(EV_READ))
  /// Bytes can be written, or a connection attempt ended.
  public static let write = Readiness(rawValue: Int16(EV_WRITE))
  /// The peer sends nothing more.
  public static let closed = Readiness(rawValue: Int16(EV_CLOSED))
}

/// Is told when a descriptor is ready, on the base's thread.
public protocol IOHandler: AnyObject {
  /// The descriptor became ready. May cancel the watch.
  func descriptorReady(_ readiness: Readiness)
}

/// A descriptor that a base waits for until `cancel`. Keeps its handler alive until then.
public final class IOWatch {
  /// When a descriptor that stays ready is reported again.
  public enum Trigger: Sendable {
    /// As long as it is ready.
    case level
    /// When it becomes ready anew: read and write until EAGAIN.
    case edge
  }

  private let base: EventBase  // outlives its events
  private var event: OpaquePointer?
  private var handler: (any IOHandler)?

  /// Starts to watch. Throws when epoll refuses the descriptor.
  public init(
    _ base: EventBase, descriptor: Int32, for readiness: Readiness, trigger: Trigger, handler: any IOHandler
  ) throws(EventError) {
    self.base = base
    self.handler = handler
    let flags = readiness.rawValue | Int16(EV_PERSIST) | (trigger == .edge ? Int16(EV_ET) : 0)
    let event = event_new(
      base.base, descriptor, flags,
      { _, what, context in
        guard let context else { return }
        // Held while it runs: the handler may cancel and drop the watch.
        let watch = Unmanaged<IOWatch>.fromOpaque(context).takeUnretainedValue()
        watch.handler?.descriptorReady(Readiness(rawValue: what))
      }, Unmanaged.passUnretained(self).toOpaque())
    guard let event else { throw EventError(reason: "no memory for a watch of descriptor \(descriptor)") }
    guard event_add(event, nil) == 0 else {
      event_free(event)
      throw EventError(reason: "epoll refuses descriptor \(descriptor)")
    }
    self.event = event
  }

  /// Stops. Before the descriptor is closed, and before the last reference goes.
  public func cancel() {
    guard let event else { return }
    self.event = nil
    handler = nil
    event_free(event)
  }

  /// Stops for a while; `resume` goes on.
  public func pause() {
    if let event { event_del(event) }
  }

  /// Goes on after `pause`. With a level trigger, what became ready meanwhile is reported.
  public func resume() {
    if let event { event_add(event, nil) }
  }

  deinit {
    assert(event == nil, "an IOWatch was dropped before cancel()")
  }
}

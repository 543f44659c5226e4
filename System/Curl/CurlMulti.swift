import CCurl

/// What waits for sockets and time on behalf of a `CurlMulti`. Called on its thread, from within its methods.
public protocol CurlDriver: AnyObject {
  /// Calls `CurlMulti.ready` whenever the descriptor is; with neither, does so no more.
  func watch(_ descriptor: Int32, reading: Bool, writing: Bool)
  /// Calls `CurlMulti.timeIsUp` after so many milliseconds, and forgets the time before; nil: not at all.
  func wake(afterMilliseconds time: Int?)
}

/// Many transfers on one thread that never waits: libcurl's multi interface, driven by somebody else's event loop.
///
/// Every method is called on that thread. Connections are kept for later transfers to the same machine.
public final class CurlMulti {
  private var multi: UnsafeMutableRawPointer?
  private weak var driver: (any CurlDriver)?
  private var running: [ObjectIdentifier: CurlTransfer] = [:]

  /// At most `connections` are open at once and kept; transfers beyond wait for one. Nil when memory is short.
  public init?(connections: Int, driver: any CurlDriver) {
    guard let multi = curl_multi_init() else { return nil }
    self.multi = multi
    self.driver = driver
    let context = Unmanaged.passUnretained(self).toOpaque()
    _ = ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, connections)
    _ = ccurl_multi_set_long(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections)
    _ = ccurl_multi_set_pointer(multi, CURLMOPT_SOCKETDATA, context)
    _ = ccurl_multi_set_socket(multi) { _, descriptor, what, context, _ in
      guard let context else { return -1 }
      let this = Unmanaged<CurlMulti>.fromOpaque(context).takeUnretainedValue()
      this.driver?.watch(
        descriptor, reading: what == CURL_POLL_IN || what == CURL_POLL_INOUT,
        writing: what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
      return 0
    }
    _ = ccurl_multi_set_pointer(multi, CURLMOPT_TIMERDATA, context)
    _ = ccurl_multi_set_timer(multi) { _, milliseconds, context in
      guard let context else { return -1 }
      let this = Unmanaged<CurlMulti>.fromOpaque(context).takeUnretainedValue()
      this.driver?.wake(afterMilliseconds: milliseconds < 0 ? nil : milliseconds)
      return 0
    }
  }

  deinit {
    assert(multi == nil, "a CurlMulti was dropped before close()")
  }

  /// Begins a transfer, and keeps it until it has ended or is removed.
  public func add(_ transfer: CurlTransfer) throws(CurlError) {
    let code = curl_multi_add_handle(multi, transfer.easy)
    guard code == CURLM_OK else { throw CurlError(.other, String(cString: curl_multi_strerror(code))) }
    running[ObjectIdentifier(transfer)] = transfer
  }

  /// Ends a transfer at once; its connection is closed.
  public func remove(_ transfer: CurlTransfer) {
    guard running.removeValue(forKey: ObjectIdentifier(transfer)) != nil else { return }
    curl_multi_remove_handle(multi, transfer.easy)
  }

  /// A descriptor that is watched is ready. Returns the transfers that have ended, nil for those that succeeded.
  public func ready(_ descriptor: Int32, reading: Bool, writing: Bool) -> [(CurlTransfer, CurlError?)] {
    act(descriptor, (reading ? CURL_CSELECT_IN : 0) | (writing ? CURL_CSELECT_OUT : 0))
  }

  /// The time asked for is over, or a transfer was added. Returns the same.
  public func timeIsUp() -> [(CurlTransfer, CurlError?)] { act(CURL_SOCKET_TIMEOUT, 0) }

  /// Ends all transfers and connections, before the last reference goes.
  public func close() {
    for transfer in running.values { curl_multi_remove_handle(multi, transfer.easy) }
    running = [:]
    curl_multi_cleanup(multi)
    multi = nil
  }

  private func act(_ descriptor: Int32, _ readiness: Int32) -> [(CurlTransfer, CurlError?)] {
    var count: Int32 = 0
    curl_multi_socket_action(multi, descriptor, readiness, &count)
    var ended: [(CurlTransfer, CurlError?)] = []
    while let message = curl_multi_info_read(multi, &count) {
      guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
      let code = message.pointee.data.result
      var context: UnsafeMutableRawPointer?
      guard ccurl_private(easy, &context) == CURLE_OK, let context else { continue }
      let transfer = Unmanaged<CurlTransfer>.fromOpaque(context).takeUnretainedValue()
      remove(transfer)
      ended.append((transfer, transfer.failure(code)))
    }
    return ended
  }
}

import Curl
import Event

/// The part of a client that lives on the loop's thread: libcurl's transfers, driven by the loop's sockets and timers.
final class HTTPTransfers: @unchecked Sendable {
  // Safe to share: everything that varies is touched by the loop's thread only.
  typealias Result = Swift.Result<HTTPClient.Response, HTTPClient.Failure>

  /// A request on its way.
  final class Exchange: @unchecked Sendable {
    // Safe to share: like the rest.
    let request: HTTPClient.Request
    var continuation: UnsafeContinuation<Result, Never>?
    var transfer: CurlTransfer?
    var isOver = false

    init(_ request: HTTPClient.Request) { self.request = request }

    func end(_ result: Result) {
      isOver = true
      transfer = nil
      continuation?.resume(returning: result)
      continuation = nil
    }
  }

  private let loop: EventLoop
  private let options: HTTPClient.Options
  private var multi: CurlMulti?
  private var timer: LoopTimer?
  private var watches: [Int32: IOWatch] = [:]
  private var exchanges: [ObjectIdentifier: Exchange] = [:]  // by transfer
  private var waiting: [Exchange] = []  // for a connection
  private var isClosed = false

  init(_ loop: EventLoop, _ options: HTTPClient.Options) {
    self.loop = loop
    self.options = options
  }

  func start(_ exchange: Exchange, _ continuation: UnsafeContinuation<Result, Never>) {
    exchange.continuation = continuation
    guard !exchange.isOver, !isClosed else { return exchange.end(.failure(.cancelled)) }
    waiting.append(exchange)
    finish([])
  }

  func cancel(_ exchange: Exchange) {
    if let transfer = exchange.transfer {
      exchanges[ObjectIdentifier(transfer)] = nil
      multi?.remove(transfer)
    } else {
      waiting.removeAll { $0 === exchange }
    }
    exchange.end(.failure(.cancelled))
    finish([])
  }

  func close() {
    isClosed = true
    multi?.close()
    multi = nil
    for watch in watches.values { watch.cancel() }
    watches = [:]
    timer?.cancel()
    timer = nil
    for exchange in exchanges.values + waiting { exchange.end(.failure(.cancelled)) }
    (exchanges, waiting) = ([:], [])
  }

  private func opened() throws(CurlError) -> CurlMulti {
    if let multi { return multi }
    // Weak: the loop keeps timers and watches alive, and they must not keep us.
    timer?.cancel()
    timer = try? LoopTimer(loop) { [weak self] in
      if let self, let multi = self.multi { self.finish(multi.timeIsUp()) }
    }
    guard timer != nil, let multi = CurlMulti(connections: max(1, options.connections), driver: self) else {
      throw CurlError(.other, "no memory")
    }
    self.multi = multi
    return multi
  }

  /// Hands out what has ended, and begins what waited for that; some of which may end at once.
  private func finish(_ ended: [(CurlTransfer, CurlError?)]) {
    var ended = ended
    while true {
      for (transfer, error) in ended {
        guard let exchange = exchanges.removeValue(forKey: ObjectIdentifier(transfer)) else { continue }
        exchange.end(Self.result(transfer, error))
      }
      // libcurl can let transfers wait for a connection too, but then their time runs.
      var hasBegun = false
      while exchanges.count < max(1, options.connections), !waiting.isEmpty {
        begin(waiting.removeFirst())
        hasBegun = true
      }
      guard hasBegun, let multi else { return }
      ended = multi.timeIsUp()
    }
  }

  private func begin(_ exchange: Exchange) {
    do throws(CurlError) {
      let transfer = try CurlTransfer(exchange.request, options)
      try opened().add(transfer)
      exchange.transfer = transfer
      exchanges[ObjectIdentifier(transfer)] = exchange
    } catch {
      exchange.end(.failure(HTTPClient.Failure(error)))
    }
  }

  private static func result(_ transfer: CurlTransfer, _ error: CurlError?) -> Result {
    if let error { return .failure(HTTPClient.Failure(error)) }
    guard let response = HTTPClient.Response(head: transfer.head, body: transfer.body) else {
      return .failure(HTTPClient.Failure(.malformed, "the answer has no status or no length of HTTP"))
    }
    return .success(response)
  }

  fileprivate func ready(_ descriptor: Int32, _ readiness: Readiness) {
    guard let multi else { return }
    finish(
      multi.ready(descriptor, reading: readiness.contains(.read), writing: readiness.contains(.write)))
  }
}

extension HTTPTransfers: CurlDriver {
  func watch(_ descriptor: Int32, reading: Bool, writing: Bool) {
    watches.removeValue(forKey: descriptor)?.cancel()
    var readiness: Readiness = reading ? .read : []
    if writing { readiness.insert(.write) }
    guard !readiness.isEmpty else { return }
    // libcurl does not read until EAGAIN, so the trigger is the level. Without a watch, the transfer's time ends it.
    watches[descriptor] = try? IOWatch(
      loop.base, descriptor: descriptor, for: readiness, trigger: .level, handler: Watcher(self, descriptor))
  }

  func wake(afterMilliseconds time: Int?) {
    if let time { timer?.start(after: .milliseconds(time)) } else { timer?.stop() }
  }

  private final class Watcher: IOHandler {
    private weak var transfers: HTTPTransfers?
    private let descriptor: Int32

    init(_ transfers: HTTPTransfers, _ descriptor: Int32) {
      self.transfers = transfers
      self.descriptor = descriptor
    }

    func descriptorReady(_ readiness: Readiness) { transfers?.ready(descriptor, readiness) }
  }
}

extension CurlTransfer {
  fileprivate convenience init(_ request: HTTPClient.Request, _ options: HTTPClient.Options) throws(CurlError) {
    var fields = request.fields.map { "\($0.name): \($0.value)" }
    // No `Expect: 100-continue`: most who do not know it let us wait a second. Amazon does; and libcurl (7.88) would sign
    // the empty field that takes it away.
    if request.signature == nil { fields.append("Expect:") }
    try self.init(
      method: request.method, url: request.url, fields: fields, body: request.body, bodyLimit: request.answerLimit)
    limitTime(
      connect: max(1, Int(clamping: request.connectTimeout.milliseconds)),
      whole: max(1, Int(clamping: request.timeout.milliseconds)),
      silence: max(1, Int(clamping: request.silence.milliseconds / 1000)))
    if let file = options.authorities { trust(authorities: file) }
    if options.usesProxyOfEnvironment { useProxyOfEnvironment() }
    if request.redirects > 0 { follow(redirects: request.redirects) }
    if let key = request.signature {
      sign(region: key.region, service: key.service, accessKey: key.accessKey, secretKey: key.secretKey)
    }
  }
}

extension HTTPClient.Failure {
  static let cancelled = HTTPClient.Failure(.cancelled, "cancelled")

  init(_ error: CurlError) {
    let kind: Kind =
      switch error.kind {
      case .invalid: .invalid
      case .resolve, .connect, .cutShort: .unreachable
      case .timedOut: .timedOut
      case .tls: .tls
      case .malformed: .malformed
      case .tooLarge: .tooLarge
      case .other: .system
      }
    self.init(kind, error.text)
  }
}

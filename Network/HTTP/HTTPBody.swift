/// The body of a request, as it comes: for the handler that was given it, on the connection's loop, until it returns.
///
/// Nothing is read ahead of what the handler asks for, so a client can send no faster than its body is taken. What the
/// handler does not read is thrown away if it is short; otherwise the connection is closed behind the answer.
public final class HTTPBody {
  /// Bytes that the client has announced; nil if it says where the end is when it comes.
  public let length: Int?
  /// Bytes that it may have; beyond it `read` throws 413. Set it before the first read.
  public var limit: Int
  /// Bytes that were read.
  public private(set) var count = 0
  /// Whether it was read to its end.
  public private(set) var isAtEnd = false
  /// Whether the client has said that there is none.
  public var isEmpty: Bool { length == 0 }

  /// Why it could not be read.
  enum Failure: Error {
    case refused(HTTPError)
    case network(NetworkError)
  }
  private(set) var failure: Failure?
  private(set) var waitsForContinue: Bool
  private let wire: HTTPWire
  /// The loop that it is used on.
  var loop: EventLoop { wire.connection.loop }
  private var waited: Int64 = 0  // milliseconds that the client took; what the handler takes is not counted

  /// Unread bytes at most that are worth more than a new connection.
  static let discarded = 65_536

  init(_ head: HTTPHead, _ wire: HTTPWire) {
    length = head.length
    limit = wire.limits.body
    waitsForContinue = head.expectsContinue
    self.wire = wire
  }

  /// The next bytes, at least one; nil at the end. Tells a client that waits for it to go on.
  ///
  /// Throws what the client is answered then, whatever the handler returns: 413 beyond `limit`, 408 if it takes too
  /// long, 400 if its coding is wrong or it ends too early.
  public func read() async throws(HTTPError) -> [UInt8]? {
    do throws(Failure) {
      return try await next()
    } catch {
      failure = error
      switch error {
      case .refused(let error): throw error
      case .network: throw HTTPError(400, "the connection is lost")
      }
    }
  }

  /// All that was not read yet.
  public func collect() async throws(HTTPError) -> [UInt8] {
    guard var all = try await read() else { return [] }
    if let length, length > all.count { all.reserveCapacity(min(length, limit)) }
    while let bytes = try await read() { all += bytes }
    return all
  }

  @inline(never)
  private func next() async throws(Failure) -> [UInt8]? {
    if let failure { throw failure }
    guard !isAtEnd else { return nil }
    while true {
      let (event, bytes) = try step()
      count += bytes.count
      // As soon as it is announced.
      guard wire.parser.pending <= limit - count else { throw .refused(HTTPError(413, "the body is too large")) }
      switch event {
      case .data: return bytes
      case .end, .head:
        isAtEnd = true
        return nil
      case .more:
        guard try await fill() else { throw .refused(HTTPError(400, "the body ends too early")) }
      }
    }
  }

  private func step() throws(Failure) -> (HTTPRequestParser.Event, [UInt8]) {
    do throws(HTTPError) {
      return try wire.connection.consume { (bytes) throws(HTTPError) in
        let (event, consumed) = try wire.parser.feed(bytes)
        guard case .data(let range) = event else { return (result: (event, []), consumed: consumed) }
        return (result: (event, [UInt8](UnsafeRawBufferPointer(rebasing: bytes[range]))), consumed: consumed)
      }
    } catch { throw .refused(error) }
  }

  @inline(never)
  private func fill() async throws(Failure) -> Bool {
    let connection = wire.connection
    do throws(NetworkError) {
      // Not to those who have begun to send without.
      if waitsForContinue, count == 0 { try await connection.write("HTTP/1.1 100 Continue\r\n\r\n") }
      waitsForContinue = false
      let begin = connection.loop.now
      connection.readTimeout = nil
      connection.limitReading(to: allowed)
      defer { waited += connection.loop.now - begin }
      return try await connection.fill()
    } catch .timedOut(.read) {
      throw .refused(HTTPError(408, "the body took too long"))
    } catch { throw .network(error) }
  }

  /// The time that the client has left.
  private var allowed: Duration {
    let limits = wire.limits
    let earned = limits.bodyRate > 0 ? Int64(count / limits.bodyRate) : 0
    return max(.zero, limits.bodyTime + .seconds(earned) - .milliseconds(waited))
  }

  // MARK: What the handler left

  /// Whether the next request can be reached without reading more than is worth it.
  var isWorthDiscarding: Bool {
    if isAtEnd { return true }
    guard failure == nil, !waitsForContinue, let length else { return false }
    return length - count <= Self.discarded
  }

  /// Reads and throws away what is left; whether the next request can be read.
  @inline(never)
  func discard() async -> Bool {
    limit = .max
    while !isAtEnd {
      guard (try? await read()) != nil || isAtEnd else { return false }
    }
    return true
  }
}

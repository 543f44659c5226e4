import Curl

/// Asks other machines by HTTP/1.1, with or without TLS.
///
/// It lives on an event loop, where it takes little: `send` may be called from anywhere. Connections are kept and used
/// again. A peer is verified by the system's authorities; nothing is taken from the environment, and no redirect is
/// followed, unless options or request say so.
public final class HTTPClient: Sendable {
  /// What holds for all requests.
  public struct Options: Sendable {
    /// Connections that are open at once, kept ones included. Requests beyond wait; their time does not run yet.
    public var connections = 32
    /// A PEM file with the authorities to trust instead of the system's.
    public var authorities: String?
    /// Whether `http_proxy`, `no_proxy` and their like count.
    public var usesProxyOfEnvironment = false
    /// The defaults.
    public init() {}
  }

  /// Why there is no answer.
  public struct Failure: Error, Sendable, CustomStringConvertible {
    /// The classes that callers treat differently.
    public enum Kind: Sendable {
      /// The request cannot be sent as it is.
      case invalid
      /// The name of the machine is not known, nobody answers there, or the connection ended in the middle.
      case unreachable
      /// It took longer than the request allows.
      case timedOut
      /// The certificate is not good, or TLS failed otherwise.
      case tls
      /// The answer is no HTTP.
      case malformed
      /// The answer is larger than the request allows.
      case tooLarge
      /// The task was cancelled, or the client closed.
      case cancelled
      /// This machine cannot, for lack of memory or descriptors.
      case system
    }
    /// The class.
    public let kind: Kind
    /// What happened, in one line. Never holds anything of the request but names and addresses.
    public let description: String

    init(_ kind: Kind, _ description: String) {
      self.kind = kind
      self.description = description
    }
  }

  private let loop: EventLoop
  private let transfers: HTTPTransfers

  /// A client on `loop`.
  public init(loop: EventLoop, _ options: Options = Options()) {
    self.loop = loop
    transfers = HTTPTransfers(loop, options)
  }

  deinit { close() }

  /// Sends a request, and returns the answer with its whole body, whatever its status.
  ///
  /// On a kept connection that ends without a byte of an answer it is sent again, on a new one, whatever its method.
  /// Throws `cancelled` as soon as the task is; the request is not sent, or cut off in the middle.
  public func send(_ request: Request) async throws(Failure) -> Response {
    if let problem = request.problem { throw Failure(.invalid, problem) }
    let (loop, transfers) = (loop, transfers)
    let exchange = HTTPTransfers.Exchange(request)
    let result = await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        loop.execute { transfers.start(exchange, continuation) }
      }
    } onCancel: {
      loop.execute { transfers.cancel(exchange) }
    }
    return try result.get()
  }

  /// Ends what is under way with `cancelled`, soon, and closes all connections. The loop may be stopped behind it.
  public func close() {
    let transfers = transfers
    loop.execute { transfers.close() }
  }
}

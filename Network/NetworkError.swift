/// Why something with a socket did not work.
public enum NetworkError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What was tried.
  public enum Operation: String, Sendable {
    /// To receive bytes.
    case read
    /// To send bytes.
    case write
    /// To reach another machine.
    case connect
    /// To agree with the peer on TLS.
    case handshake
    /// To wait for connections.
    case listen
    /// To start an event loop or watch something on it.
    case loop
  }

  /// Nothing happened for as long as the connection allows.
  case timedOut(Operation)
  /// A line is longer than `limit` bytes. Its rest is thrown away by the next `readLine`.
  case lineTooLong(limit: Int)
  /// A line ended without the CR. It was thrown away.
  case bareLineFeed
  /// This side closed the connection.
  case closed
  /// The task was cancelled while it waited. What does not wait, as a short farewell, still works.
  case cancelled
  /// Another part of the program has something for the session that waits to read.
  case interrupted
  /// The server stops and this session is between two commands: say goodbye and end.
  case shuttingDown
  /// The peer and we do not understand each other in TLS; OpenSSL's words. The connection is closed.
  case tls(String)
  /// The peer is gone without the end that TLS requires: what came may have been cut off.
  case truncated
  /// A trusted peer did not begin with a PROXY header that makes sense.
  case proxyHeader(String)
  /// The system refused: its errno and its text.
  case system(Operation, code: Int32, text: String)
  /// Nobody can be served at an address.
  case cannotListen(ListenFailure)
  /// Something that should be an address is none.
  case invalidAddress(String)

  /// Why a server could not take an address.
  public struct ListenFailure: Equatable, Sendable {
    /// As asked for, "127.0.0.1:25".
    public let address: String
    /// The errno.
    public let code: Int32
    /// The system's text for it.
    public let text: String
    /// What to do.
    public let hint: String
  }

  /// One line for an operator.
  public var description: String {
    switch self {
    case .timedOut(let operation): "\(operation.rawValue) timed out"
    case .lineTooLong(let limit): "a line is longer than \(limit) bytes"
    case .bareLineFeed: "a line ended with LF instead of CRLF"
    case .closed: "the connection is closed"
    case .cancelled: "cancelled"
    case .interrupted: "interrupted"
    case .shuttingDown: "the server is shutting down"
    case .tls(let reason): "TLS: \(reason)"
    case .proxyHeader(let what): "no PROXY header: \(what)"
    case .truncated: "the peer is gone without the end that TLS requires"
    case .system(let operation, let code, let text): "\(operation.rawValue) failed: \(text) (errno \(code))"
    case .cannotListen(let failure):
      "cannot listen on \(failure.address): \(failure.text) (errno \(failure.code)). \(failure.hint)"
    case .invalidAddress(let text):
      "“\(text)” is no address to listen on or connect to. Write an IP address and a port, as 127.0.0.1:2525, "
        + "[::1]:2525 or 0.0.0.0:25; port 0 takes a free one."
    }
  }
}

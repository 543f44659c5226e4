import CCurl
import Glibc

/// One HTTP request by libcurl and what came back. Everything is called on the thread of its `CurlMulti`.
///
/// HTTP/1.1 over http and https only. The peer is verified by the system's authorities. Nothing is taken from the
/// environment, no redirect followed and no cookie kept unless a method here says so.
public final class CurlTransfer {
  let easy: UnsafeMutableRawPointer
  private var fieldList: UnsafeMutablePointer<curl_slist>?
  private let message = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
  private var upload: [UInt8] = []
  private var uploaded = 0
  private var headBytes = 0
  private let bodyLimit: Int
  private var isTooLarge = false

  /// The lines of the last head that came, the status line first, without their line ends.
  public private(set) var head: [[UInt8]] = []
  /// What came behind it.
  public private(set) var body: [UInt8] = []

  /// Bytes of all heads of an answer: interim answers, redirects and trailers count.
  private static let headLimit = 65_536
  private static let isReady = curl_global_init(Int(CURL_GLOBAL_ALL)) == CURLE_OK

  /// A request to `url`, which must not hold a NUL.
  ///
  /// - Parameters:
  ///   - fields: lines `Name: value`, free of CR, LF and NUL.
  ///   - body: what is sent; nil sends none.
  ///   - bodyLimit: an answer with more bytes fails with `tooLarge`.
  /// - Throws: `other` when memory is short.
  public init(
    method: String, url: String, fields: [String], body: [UInt8]?, bodyLimit: Int
  ) throws(CurlError) {
    guard Self.isReady, let easy = curl_easy_init() else { throw CurlError(.other, "libcurl has no memory") }
    self.easy = easy
    self.bodyLimit = bodyLimit
    message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    for field in fields { fieldList = curl_slist_append(fieldList, field) ?? fieldList }
    let context = Unmanaged.passUnretained(self).toOpaque()
    _ = ccurl_set_pointer(easy, CURLOPT_PRIVATE, context)
    _ = ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, message)
    _ = ccurl_set_long(easy, CURLOPT_NOSIGNAL, 1)
    _ = ccurl_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https")
    _ = ccurl_set_text(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
    _ = ccurl_set_long(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    _ = ccurl_set_text(easy, CURLOPT_PROXY, "")
    _ = ccurl_set_text(easy, CURLOPT_URL, url)
    _ = ccurl_set_pointer(easy, CURLOPT_HTTPHEADER, fieldList)
    _ = ccurl_set_pointer(easy, CURLOPT_HEADERDATA, context)
    _ = ccurl_set_data(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
      CurlTransfer.from(context).takeHead(UnsafeRawBufferPointer(start: bytes, count: size * count))
    }
    _ = ccurl_set_pointer(easy, CURLOPT_WRITEDATA, context)
    _ = ccurl_set_data(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
      CurlTransfer.from(context).takeBody(UnsafeRawBufferPointer(start: bytes, count: size * count))
    }
    if method == "HEAD" { _ = ccurl_set_long(easy, CURLOPT_NOBODY, 1) }
    if let body { send(body, context) }
    _ = ccurl_set_text(easy, CURLOPT_CUSTOMREQUEST, method)
  }

  deinit {
    curl_easy_cleanup(easy)
    curl_slist_free_all(fieldList)
    message.deallocate()
  }

  /// How many milliseconds the connection and the whole may take, and how many seconds may pass without a byte.
  public func limitTime(connect: Int, whole: Int, silence: Int) {
    _ = ccurl_set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, connect)
    _ = ccurl_set_long(easy, CURLOPT_TIMEOUT_MS, whole)
    _ = ccurl_set_long(easy, CURLOPT_LOW_SPEED_LIMIT, 1)
    _ = ccurl_set_long(easy, CURLOPT_LOW_SPEED_TIME, silence)
  }

  /// Verifies the peer by the authorities in this PEM file instead of the system's.
  public func trust(authorities file: String) {
    _ = ccurl_set_text(easy, CURLOPT_CAINFO, file)
    _ = ccurl_set_text(easy, CURLOPT_CAPATH, nil)
  }

  /// Follows so many redirects.
  public func follow(redirects: Int) {
    _ = ccurl_set_long(easy, CURLOPT_FOLLOWLOCATION, 1)
    _ = ccurl_set_long(easy, CURLOPT_MAXREDIRS, redirects)
  }

  /// Uses the proxy that the environment names (`https_proxy`, `no_proxy`, …).
  public func useProxyOfEnvironment() {
    _ = ccurl_set_text(easy, CURLOPT_PROXY, nil)
  }

  /// Signs the request with AWS Signature Version 4.
  public func sign(region: String, service: String, accessKey: String, secretKey: String) {
    _ = ccurl_set_text(easy, CURLOPT_AWS_SIGV4, "aws:amz:\(region):\(service)")
    _ = ccurl_set_text(easy, CURLOPT_USERNAME, accessKey)
    _ = ccurl_set_text(easy, CURLOPT_PASSWORD, secretKey)
  }

  /// What the code of an ended transfer means; nil is success.
  func failure(_ code: CURLcode) -> CurlError? {
    if isTooLarge { return CurlError(.tooLarge, "the answer is larger than is allowed") }
    guard code != CURLE_OK else { return nil }
    let text = String(cString: message)
    // No HTTP, or a redirect to what we do not speak: the peer's doing, if we have said anything at all.
    var sent = 0
    _ = ccurl_long(easy, CURLINFO_REQUEST_SIZE, &sent)
    let kind: CurlError.Kind = code == CURLE_UNSUPPORTED_PROTOCOL && sent > 0 ? .malformed : .init(code)
    return CurlError(kind, text.isEmpty ? String(cString: curl_easy_strerror(code)) : text)
  }

  // MARK: What libcurl calls

  private static func from(_ context: UnsafeMutableRawPointer?) -> CurlTransfer {
    guard let context else { preconditionFailure("libcurl lost the context of a transfer") }
    return Unmanaged<CurlTransfer>.fromOpaque(context).takeUnretainedValue()
  }

  private func send(_ body: [UInt8], _ context: UnsafeMutableRawPointer) {
    upload = body
    _ = ccurl_set_long(easy, CURLOPT_UPLOAD, 1)
    _ = ccurl_set_size(easy, CURLOPT_INFILESIZE_LARGE, curl_off_t(body.count))
    _ = ccurl_set_pointer(easy, CURLOPT_READDATA, context)
    _ = ccurl_set_data(easy, CURLOPT_READFUNCTION) { room, size, count, context in
      CurlTransfer.from(context).give(UnsafeMutableRawBufferPointer(start: room, count: size * count))
    }
    // A kept connection that turns out to be dead is replaced, and the body sent again.
    _ = ccurl_set_pointer(easy, CURLOPT_SEEKDATA, context)
    _ = ccurl_set_seek(easy) { context, offset, _ in
      let transfer = CurlTransfer.from(context)
      guard offset >= 0, offset <= transfer.upload.count else { return Int32(CURL_SEEKFUNC_FAIL) }
      transfer.uploaded = Int(offset)
      return Int32(CURL_SEEKFUNC_OK)
    }
  }

  private func give(_ room: UnsafeMutableRawBufferPointer) -> Int {
    let count = min(room.count, upload.count - uploaded)
    upload.withUnsafeBytes { room.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[uploaded..<uploaded + count])) }
    uploaded += count
    return count
  }

  private func takeHead(_ line: UnsafeRawBufferPointer) -> Int {
    headBytes += line.count
    guard headBytes <= Self.headLimit else {
      isTooLarge = true
      return 0
    }
    if line.starts(with: "HTTP/".utf8) { head = [] }
    let end = line.lastIndex { $0 != 10 && $0 != 13 }.map { $0 + 1 } ?? 0
    if end > 0 { head.append(Array(line[..<end])) }
    return line.count
  }

  private func takeBody(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard body.count + bytes.count <= bodyLimit else {
      isTooLarge = true
      return 0
    }
    body.append(contentsOf: bytes)
    return bytes.count
  }
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7), in seconds since 1970; nil if it cannot be read.
public func seconds(httpDate text: String) -> Int? {
  let seconds = curl_getdate(text, nil)
  return seconds < 0 ? nil : seconds
}

/// Why a transfer failed.
public struct CurlError: Error, Sendable {
  /// The classes that callers treat differently.
  public enum Kind: Sendable {
    /// The URL cannot be used.
    case invalid
    /// The name of the machine is not known, or nobody says.
    case resolve
    /// Nobody answers there.
    case connect
    /// It took longer than is allowed.
    case timedOut
    /// The certificate is not good, or TLS failed otherwise.
    case tls
    /// The connection ended in the middle.
    case cutShort
    /// The answer is no HTTP.
    case malformed
    /// The answer is larger than is allowed.
    case tooLarge
    /// Anything else, as no memory.
    case other
  }
  /// The class.
  public let kind: Kind
  /// libcurl's words.
  public let text: String

  /// An error of the class.
  public init(_ kind: Kind, _ text: String) {
    self.kind = kind
    self.text = text
  }
}

extension CurlError.Kind {
  fileprivate init(_ code: CURLcode) {
    self =
      switch code {
      case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL: .invalid
      case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .resolve
      case CURLE_COULDNT_CONNECT: .connect
      case CURLE_OPERATION_TIMEDOUT: .timedOut
      case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM,
        CURLE_SSL_CIPHER, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_SHUTDOWN_FAILED, CURLE_USE_SSL_FAILED:
        .tls
      case CURLE_PARTIAL_FILE, CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR: .cutShort
      case CURLE_WEIRD_SERVER_REPLY, CURLE_BAD_CONTENT_ENCODING, CURLE_TOO_MANY_REDIRECTS: .malformed
      default: .other
      }
  }
}

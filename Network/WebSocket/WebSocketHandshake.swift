import OpenSSL

extension HTTPResponse {
  /// Goes over to WebSocket (RFC 6455 section 4.2), or refuses: 400 and 426 for what is no such request, 403 for an
  /// `Origin` that is not let in.
  ///
  /// - Parameters:
  ///   - protocols: the subprotocols that we speak, the one that is liked best first; the first of them that the client
  ///     offers too is used.
  ///   - origins: whether pages of an origin may connect. Browsers send their cookies and credentials whatever page asks, so
  ///     say only those that are ours; not asked for clients that are no browsers and send none.
  ///   - handler: what to do with it until it is closed; runs on the connection's loop.
  public static func webSocket(
    _ request: HTTPRequest, limits: WebSocketLimits = WebSocketLimits(), protocols: [String] = [],
    origins: (String) -> Bool, handler: @escaping @Sendable (WebSocket, _ protocol: String?) async -> Void
  ) -> HTTPResponse {
    guard request.method == "GET", request.isVersion11, request.tokens("upgrade").contains("websocket"),
      request.tokens("connection").contains("upgrade")
    else {
      return HTTPResponse(426, fields: [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    }
    guard request.onlyField("sec-websocket-version") == "13" else {
      return HTTPResponse(
        426, fields: [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade")])
    }
    guard let key = request.onlyField("sec-websocket-key"), isKey(key) else {
      return .text(400, "a WebSocket needs a key of 16 bytes")
    }
    for field in request.fields where field.name.equalsIgnoringCase("origin") {
      guard origins(field.value) else { return .text(403, "not from this page") }
    }
    let offered = request.fields.filter { $0.name.equalsIgnoringCase("sec-websocket-protocol") }
      .flatMap { $0.value.split(separator: ",").map { $0.trimmingSpaces() } }
    let chosen = protocols.first { offered.contains($0) }
    let digest = SHA1.hash(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
    var response = HTTPResponse(
      101,
      fields: [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", base64(digest)),
      ],
      .upgrade { connection in
        let socket = WebSocket(connection, limits)
        await handler(socket, chosen)
        await socket.close()
      })
    if let chosen { response.fields.append(("Sec-WebSocket-Protocol", chosen)) }
    return response
  }

  /// Whether it is 16 bytes in base64.
  private static func isKey(_ key: String) -> Bool {
    let bytes = Array(key.utf8)
    return bytes.count == 24 && bytes.suffix(2).allSatisfy { $0 == UInt8(ascii: "=") }
      && bytes.prefix(22).allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 43 || $0 == 47
      }
  }
}

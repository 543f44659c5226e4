import Testing

@testable import Network

@Suite struct HTTPParserTests {
  /// Feeds pieces of `size` bytes; the requests, and the refusal if there is one.
  private func parse(_ text: String, size: Int, limits: HTTPLimits = HTTPLimits()) -> ([HTTPRequest], HTTPError?) {
    parse(Array(text.utf8), size: size, limits: limits)
  }

  private func parse(_ text: [UInt8], size: Int, limits: HTTPLimits) -> ([HTTPRequest], HTTPError?) {
    var parser = HTTPRequestParser(limits)
    var requests: [HTTPRequest] = []
    var current: HTTPRequest?
    var rest = text[...]
    while !rest.isEmpty || current != nil {
      let piece = Array(rest.prefix(size))
      do {
        let (event, consumed) = try piece.withUnsafeBytes { bytes in try parser.feed(bytes) }
        switch event {
        case .head(let head): current = head.request
        case .data(let range): current?.body += piece[range]
        case .end:
          if let current { requests.append(current) }
          current = nil
        case .more: guard consumed > 0 else { return (requests, nil) }
        }
        rest = rest.dropFirst(consumed)
      } catch { return (requests, error as? HTTPError) }
    }
    return (requests, nil)
  }

  private let valid = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\nGET /v1/messages?folder=1&q=a+b%20c HTTP/1.1\r\nhost:x\r\nAccept: */*\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
    "GET http://x/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /a%41 HTTP/1.0\r\n\r\n",
    "GET HTTP://x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", "GET http://[::1]?a=b HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "GET /한글/%ED%95%9C HTTP/1.1\r\nHost:\r\n\r\n".replacing("한글", with: "%ED%95%9C%EA%B8%80"),
    "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
  ]

  @Test func piecesDoNotMatter() {
    for text in valid {
      let whole = parse(text, size: .max)
      #expect(whole.1 == nil && whole.0.count == 1, "\(text)")
      for size in 1...text.utf8.count { #expect(parse(text, size: size).0 == whole.0, "\(text) by \(size)") }
    }
    let pipelined = parse(valid.joined(), size: 7)
    #expect(pipelined.0.count == valid.count && pipelined.1 == nil)
  }

  @Test func readsWhatIsSaid() throws {
    let request = try #require(parse(valid[1], size: 3).0.first)
    #expect(request.path == "/v1/messages")
    #expect(request.parameter("folder") == "1" && request.parameter("q") == "a b c")
    #expect(request.field("HOST") == "x" && request.keepsAlive)
    #expect(try #require(parse(valid[3], size: 1).0.first).body == Array("abc0123456789".utf8))
    #expect(parse(valid[4], size: 9).0.first?.keepsAlive == false)
    #expect(
      parse(valid[5], size: 9).0.first.map { ($0.path == "/aA", $0.keepsAlive) } ?? (false, true) == (true, false))
    #expect(valid[6...].map { parse($0, size: 9).0.first?.path } == ["/", "/", "/한글/한", "/a", "/a"])
    #expect(parse(valid[7], size: 9).0.first?.parameter("a") == "b")
    // A client of HTTP/1.0 would have to be told that the connection stays; it is closed, which everybody understands.
    #expect(valid[6...].map { parse($0, size: 9).0.first?.keepsAlive } == [true, true, true, false, false])
  }

  @Test(arguments: [
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5abc\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551621\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400),
    ("GET /a HTTP/1.1\nHost: x\n\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\njunk\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    ("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /a/../b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /%2e%2e/etc HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET /x/../%CC%81y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /..%2fetc HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET\t/a\tHTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /a HTTP/2.0\r\nHost: x\r\n\r\n", 505), ("GET /a\r\n\r\n", 400),
    ("CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 417),
    ("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400), ("GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x, y\r\n\r\n", 400), ("GET /a HTTP/1.1\r\nHost: u@x\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x:99999999\r\n\r\n", 400), ("GET /a HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x:y\r\n\r\n", 400), ("GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET /a?q=%c3 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET /%g1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("G@T /a HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("GET /a HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    ("GET /a http/1.1\r\nHost: x\r\n\r\n", 400), ("GET /a HTTP/1.1\r\nHost: x\r\n: v\r\n\r\n", 400),
    ("GET /a HTTP/1.1\r\nHost: x\r\nX: a\u{7f}\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: ٥\r\n\r\nhello", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT : v\r\n\r\n", 400),
  ])
  func refuses(_ text: String, _ status: Int) {
    for size in [1, 5, Int.max] {
      let (requests, error) = parse(text, size: size)
      #expect(
        requests.isEmpty && error?.status == status, "\(text) by \(size): \(requests), \(String(describing: error))")
    }
  }

  /// Damaged requests: whatever comes of them, it comes however they are cut, and nothing traps.
  @Test func damagedRequestsAreReadInOneWay() {
    var random = SplitMix(state: 1)
    let limits = HTTPLimits()
    let bytes = Array("\r\n\0 \t:;,?#%+/.[]@0159aFxGHT\u{7f}\\".utf8) + [0x80, 0xff]
    for _ in 0..<4000 {
      var text = Array(valid[Int(random.next() % UInt64(valid.count))].utf8)
      for _ in 0...(random.next() % 3) {
        let at = Int(random.next() % UInt64(text.count))
        let byte = bytes[Int(random.next() % UInt64(bytes.count))]
        switch random.next() % 3 {
        case 0: text[at] = byte
        case 1: text.insert(byte, at: at)
        default: text.remove(at: at)
        }
      }
      text += Array(valid[0].utf8)
      let whole = parse(text, size: .max, limits: limits)
      for size in [1, 2, 7] {
        let (requests, error) = parse(text, size: size, limits: limits)
        #expect(requests == whole.0 && error?.status == whole.1?.status, "\(text) by \(size)")
      }
      for request in whole.0 {
        #expect(request.path.hasPrefix("/") && !request.path.utf8.contains(0) && !request.path.contains("/../"))
      }
    }
  }

  private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  @Test func headsAreLimited() {
    let long = "GET /a HTTP/1.1\r\nHost: x\r\nX: " + String(repeating: "a", count: 1 << 20)
    #expect(parse(long, size: 4096).1?.status == 431)
    let many = "GET /a HTTP/1.1\r\nHost: x\r\n" + String(repeating: "X: a\r\n", count: 1000) + "\r\n"
    #expect(parse(many, size: 4096).1?.status == 431)
  }
}

import Foundation
import Synchronization
import Testing

@testable import Network

/// Bodies as they come and go: streams, files, ranges.
@Suite(.timeLimit(.minutes(1))) struct HTTPBodyTests {
  private func serving(
    _ limits: HTTPLimits = HTTPLimits(), _ handler: @escaping HTTPStreamingHandler,
    _ body: @Sendable (EventLoop, Server) async throws -> Void
  ) async throws {
    try await withServer { connection in
      var session = HTTPSession(limits, streaming: handler)
      await session.run(connection)
    } _: { loop, server in
      try await body(loop, server)
    }
  }

  private func answers(_ text: String, _ loop: EventLoop, _ server: Server) async throws -> String {
    let client = try await Connection.connect(to: server.address, on: loop)
    defer { client.close() }
    try await client.write(text)
    try await client.finishWriting()
    return try await client.readAll()
  }

  private func statuses(_ text: String) -> [Substring] { text.matches(of: /HTTP\/1\.1 (\d+)/).map(\.1) }

  /// The handler has the first piece while the client has not sent the second.
  @Test func aBodyIsReadAsItComes() async throws {
    let pieces = Event<String>()
    try await serving { _, body in
      while let bytes = try? await body.read() { pieces.send(String(decoding: bytes, as: UTF8.self)) }
      return .text(200, "\(body.count)")
    } _: { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
      try await client.flush()
      #expect(await pieces.next() == "abc")
      try await client.write("2\r\nde\r\n0\r\n\r\n")
      try await client.flush()
      #expect(await pieces.next() == "de")
      try await client.expectLine("HTTP/1.1 200 OK")
    }
  }

  /// What is not read is thrown away if that is worth it, and the next request is answered.
  @Test func unreadBodiesDoNotBecomeRequests() async throws {
    try await serving { request, _ in
      .text(200, request.path)
    } _: { loop, server in
      let get = "GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
      let short = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: \(get.utf8.count)\r\n\r\n" + get
      #expect(statuses(try await answers(short + get, loop, server)) == ["200", "200"])
      let long = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + get
      let closed = try await answers(long, loop, server)
      #expect(statuses(closed) == ["200"] && closed.contains("Connection: close\r\n"))
      let waiting = "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
      #expect(statuses(try await answers(waiting, loop, server)) == ["200"])  // and no 100
      let chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
      #expect(statuses(try await answers(chunked + get, loop, server)) == ["200"])
    }
  }

  @Test func bodiesHaveLimits() async throws {
    var limits = HTTPLimits()
    limits.body = 4
    try await serving(limits) { request, body in
      if request.path == "/more" { body.limit = 8 }
      guard let bytes = try? await body.collect() else { return .text(200, "never sent") }
      return .text(200, "\(bytes.count)")
    } _: { loop, server in
      let cases = [
        ("/", "Content-Length: 4\r\n\r\nabcd", 200), ("/", "Content-Length: 5\r\n\r\n", 413),
        ("/", "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413),
        ("/more", "Content-Length: 8\r\n\r\nabcdabcd", 200),
        // Before the chunk has come.
        ("/", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n", 413),
        ("/", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx", 400),
        ("/", "Content-Length: 4\r\n\r\nab", 400),  // cut off
      ]
      for (path, rest, status) in cases {
        let text = try await answers("POST \(path) HTTP/1.1\r\nHost: x\r\n\(rest)", loop, server)
        #expect(statuses(text) == ["\(status)"], "\(rest)")
      }
    }
  }

  /// Its time grows with what has come, and what the handler takes is not counted.
  @Test func aSteadyBodyMayTakeLong() async throws {
    var limits = HTTPLimits()
    limits.bodyTime = .milliseconds(300)
    limits.bodyRate = 10  // a second for ten bytes
    try await serving(limits) { _, body in
      while (try? await body.read()) != nil { try? await body.loop.sleep(for: .milliseconds(60)) }
      return .text(200, "\(body.count)")
    } _: { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
      for _ in 0..<10 {
        try await client.write([UInt8](repeating: 65, count: 10))
        try await client.flush()
        try await loop.sleep(for: .milliseconds(60))
      }
      try await client.write([UInt8](repeating: 65, count: 900))
      try await client.flush()
      try await client.expectLine("HTTP/1.1 200 OK")
    }
  }

  @Test func streamsAreChunkedOrEndWithTheConnection() async throws {
    try await serving { _, _ in
      HTTPResponse(
        200,
        .stream { (writer) async throws(NetworkError) in
          try await writer.write(Array("hello ".utf8))
          try await writer.write([])
          try await writer.write(Array("world".utf8))
        })
    } _: { loop, server in
      let new = try await answers("GET / HTTP/1.1\r\nHost: x\r\n\r\n", loop, server)
      #expect(
        new.hasSuffix("\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n") && new.contains("Transfer-Encoding: chunked"))
      let old = try await answers("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n", loop, server)
      #expect(old.hasSuffix("\r\n\r\nhello world") && !old.contains("Transfer-Encoding"))
      let head = try await answers("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", loop, server)
      #expect(head.hasSuffix("\r\n\r\n") && !head.contains("hello"))
    }
  }

  private static let size = 3_000_000

  private func withFile(_ body: (String, [UInt8]) async throws -> Void) async throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "mailflow-\(UUID().uuidString)").path
    let bytes = (0..<Self.size).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 3) }
    #expect(FileManager.default.createFile(atPath: path, contents: Data(bytes)))
    defer { try? FileManager.default.removeItem(atPath: path) }
    try await body(path, bytes)
  }

  /// A file, and one of whose bytes the first come from memory.
  @Test(arguments: [0, 1000]) func filesAndTheirPartsAreSent(behind count: Int) async throws {
    try await withFile { path, bytes in
      try await serving { request, _ in
        guard let file = try? HTTPFile(path: path) else { return .text(404, "") }
        var response = HTTPResponse.file(file, fields: [("ETag", "\"tag\"")])
        response.body = .file(file, count..<file.size, behind: Array(bytes[..<count]))
        return response.conditioned(by: request)
      } _: { loop, server in
        func get(_ fields: String, method: String = "GET") async throws -> (head: String, body: [UInt8]) {
          let client = try await Connection.connect(to: server.address, on: loop)
          defer { client.close() }
          try await client.write("\(method) / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(fields)\r\n")
          try await client.flush()
          var all: [UInt8] = []
          while let piece = try await client.read() { all += piece }
          let end = try #require(all.firstRange(of: Array("\r\n\r\n".utf8)))
          return (String(decoding: all[..<end.upperBound], as: UTF8.self), Array(all[end.upperBound...]))
        }
        let whole = try await get("")
        #expect(whole.body == bytes && whole.head.contains("Content-Length: \(Self.size)\r\n"))
        let time = try #require(whole.head.firstMatch(of: /Last-Modified: (.*)\r\n/)).1
        for (range, expected) in [
          ("0-0", 0..<1), ("10-19", 10..<20), ("990-1009", 990..<1010), ("1000-1000", 1000..<1001),
          ("2000000-", 2_000_000..<Self.size), ("-5", Self.size - 5..<Self.size),
          ("5-99999999", 5..<Self.size), ("-99999999", 0..<Self.size),
        ] {
          let part = try await get("Range: bytes=\(range)\r\n")
          #expect(part.body == Array(bytes[expected]), "\(range)")
          let place = "Content-Range: bytes \(expected.lowerBound)-\(expected.upperBound - 1)/\(Self.size)\r\n"
          #expect(part.head.hasPrefix("HTTP/1.1 206 ") && part.head.contains(place))
        }
        for range in ["\(Self.size)-", "-0", "99999999-999999999"] {
          let none = try await get("Range: bytes=\(range)\r\n")
          #expect(none.head.hasPrefix("HTTP/1.1 416 ") && none.head.contains("Content-Range: bytes */\(Self.size)\r\n"))
        }
        for (fields, status) in [
          ("Range: bytes=1-2\r\nIf-Range: \"tag\"\r\n", 206), ("Range: bytes=1-2\r\nIf-Range: \"other\"\r\n", 200),
          ("Range: bytes=1-2\r\nIf-Range: W/\"tag\"\r\n", 200), ("Range: bytes=1-2\r\nIf-Range: \(time)\r\n", 206),
          ("Range: bytes=1-2\r\nIf-Range: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 200),
          ("Range: bytes=1-2,4-5\r\n", 200), ("Range: bytes=2-1\r\n", 200), ("Range: bytes=a-b\r\n", 200),
          ("Range: lines=1-2\r\n", 200), ("Range: bytes=1-2\r\nRange: bytes=3-4\r\n", 200),
          ("If-None-Match: \"tag\"\r\n", 304), ("If-None-Match: W/\"tag\"\r\n", 304),
          ("If-None-Match: \"a\", \"b\"\r\n", 200), ("If-None-Match: *\r\n", 304),
          ("If-None-Match: \"a\"\r\nIf-Modified-Since: \(time)\r\n", 200), ("If-Modified-Since: \(time)\r\n", 304),
          ("If-Match: \"other\"\r\n", 412), ("If-Match: \"tag\"\r\nRange: bytes=0-1\r\n", 206),
          ("If-None-Match: \"tag\"\r\nRange: bytes=0-1\r\n", 304),
        ] {
          let answer = try await get(fields, method: "HEAD")
          #expect(answer.head.hasPrefix("HTTP/1.1 \(status) ") && answer.body.isEmpty, "\(fields)\(answer.head)")
        }
      }
    }
  }

  /// Back pressure: a client that does not read has the kernel hold a little of it, and us nothing.
  @Test func aFileWaitsForASlowReader() async throws {
    try await withFile { path, bytes in
      try await serving { _, _ in
        guard let file = try? HTTPFile(path: path) else { return .text(404, "") }
        return .file(file)
      } _: { loop, server in
        let client = try await Connection.connect(to: server.address, on: loop)
        defer { client.close() }
        try await client.write(
          "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try await client.flush()
        var count = 0
        while let piece = try await client.read(limit: 10_000) {
          count += piece.count
          if count < 300_000 { try await loop.sleep(for: .milliseconds(2)) }
        }
        #expect(count > 2 * Self.size)
      }
    }
  }

  /// What was promised cannot be sent: the client must not take the beginning for all.
  @Test func aFileThatBecameShorterCutsTheConnection() async throws {
    try await withFile { path, _ in
      try await serving { _, _ in
        guard let file = try? HTTPFile(path: path) else { return .text(404, "") }
        truncate(path, 1_000_000)
        return .file(file)
      } _: { loop, server in
        let text = try await answers("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", loop, server)
        #expect(statuses(text) == ["200"] && text.contains("Content-Length: \(Self.size)\r\n"))
      }
    }
  }
}

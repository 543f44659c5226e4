import Glibc
import Network
import Pipeline
import Synchronization
import Testing

@testable import S3ContentStore

/// The store against a server that answers what a test wants: what S3 says when something is wrong.
@Suite(.timeLimit(.minutes(1))) struct AnswerTests {
  /// Pauses take no time.
  private struct StoppedClock: PipelineClock {
    let now = Timestamp(microseconds: 0)
    func sleep(until deadline: Timestamp) async throws {}
  }

  /// A store whose every request is answered by `answer`, with the requests that came.
  private func store(
    _ answer: @escaping @Sendable (HTTPRequest, _ earlier: Int) -> HTTPResponse,
    _ body: @Sendable (S3ContentStore) async throws -> Void
  ) async throws -> [HTTPRequest] {
    let loop = try EventLoop()
    defer { loop.stop() }
    let requests = Mutex<[HTTPRequest]>([])
    let server = try Server(address: SocketAddress(parsing: "127.0.0.1:0"), loops: [loop]) { connection in
      var session = HTTPSession { request in
        let earlier = requests.withLock { requests in
          requests.append(request)
          return requests.count - 1
        }
        return answer(request, earlier)
      }
      await session.run(connection)
    }
    try await server.start()
    let settings = try #require(
      Topology.S3Settings(
        url: "http://\(server.address)/mail/a/b", accessKey: "NAME", secretKey: "very-secret"))
    do { try await body(S3ContentStore(settings, clock: StoppedClock())) } catch {
      await server.shutdown(draining: .zero, deadline: .zero)
      throw error
    }
    await server.shutdown(draining: .zero, deadline: .zero)
    return requests.withLock { $0 }
  }

  private func problem(_ status: Int, _ code: String) -> HTTPResponse {
    HTTPResponse(status, body: Array("<Error><Code>\(code)</Code><Message>very-secret</Message></Error>".utf8))
  }

  private let hello = ContentReference(
    digest: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", size: 5)
  private let path = "/mail/a/b/2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

  @Test func putSignsTheDigestOfTheBody() async throws {
    let requests = try await store { request, _ in
      request.method == "HEAD" ? HTTPResponse(404) : HTTPResponse(200)
    } _: { store in
      let found = try await store.put(Bytes("hello"))
      #expect(found == hello)
    }
    #expect(requests.map(\.method) == ["HEAD", "PUT"] && requests.allSatisfy { $0.path == path })
    #expect(requests.last?.field("x-amz-content-sha256") == hello.digest)
    #expect(requests.last?.body == Array("hello".utf8))
    #expect(requests.allSatisfy { $0.field("authorization")?.contains("Credential=NAME/") ?? false })
  }

  /// Whoever writes a reference has touched the object: only what is known to be recent is not put again.
  @Test(arguments: [(1800, 5, false), (3700, 5, true), (1800, 4, true), (nil, 5, true)] as [(Int?, Int, Bool)])
  func putTouches(_ age: Int?, _ size: Int, _ isPut: Bool) async throws {
    let requests = try await store { request, _ in
      HTTPResponse(
        200, fields: [("Last-Modified", age.map { Self.date(secondsAgo: $0) } ?? "yesterday")],
        body: request.method == "HEAD" ? Array(repeating: 0, count: size) : [])
    } _: { store in
      _ = try await store.put(Bytes("hello"))
    }
    #expect(requests.map(\.method) == (isPut ? ["HEAD", "PUT"] : ["HEAD"]))
  }

  private static func date(secondsAgo seconds: Int) -> String {
    var moment = time(nil) - seconds
    var parts = tm()
    gmtime_r(&moment, &parts)
    var buffer = [CChar](repeating: 0, count: 64)
    let count = strftime(&buffer, buffer.count, "%a, %d %b %Y %H:%M:%S GMT", &parts)
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  @Test(arguments: [(503, "SlowDown"), (500, "InternalError"), (429, ""), (400, "RequestTimeout")])
  func whatPassesIsTriedAgain(_ status: Int, _ code: String) async throws {
    var requests = try await store { request, earlier in
      earlier < 3 ? problem(status, code) : HTTPResponse(200, body: Array("hello".utf8))
    } _: { store in
      let found = try await store.get(hello)
      #expect(found == Bytes("hello"))
    }
    #expect(requests.count == 4)
    requests = try await store { _, _ in
      problem(status, code)
    } _: { store in
      await expect(.dependencyDown("content store"), "\(status) \(code)") { _ = try await store.get(hello) }
    }
    #expect(requests.count == 4)
  }

  @Test(arguments: [
    (403, "SignatureDoesNotMatch", "content.secret-key"), (403, "InvalidAccessKeyId", "content.access-key"),
    (403, "AccessDenied", "s3:PutObject"), (403, "RequestTimeTooSkewed", "GMT there"),
    (404, "NoSuchBucket", "content.s3"), (301, "PermanentRedirect", "content.region"), (418, "", "418"),
    (404, "", "an endpoint of S3?"),
  ])
  func whatStaysIsSaidAndMailWaits(_ status: Int, _ code: String, _ hint: String) async throws {
    let requests = try await store { _, _ in
      problem(status, code)
    } _: { store in
      for ask in [store.probe, { _ = try await store.get(hello) }, { _ = try await store.put(Bytes("hello")) }]
        as [() async throws -> Void]
      { await expect(.dependencyDown("content store"), hint, ask) }
    }
    #expect(requests.map(\.method) == ["GET", "GET", "HEAD", "PUT"])
  }

  @Test func missingIsForGoodAndDamageIsLookedAtTwice() async throws {
    var requests = try await store { _, _ in
      problem(404, "NoSuchKey")
    } _: { store in
      await expect(.permanent, "there is no http://") { _ = try await store.get(hello) }
    }
    #expect(requests.count == 1)
    requests = try await store { _, earlier in
      HTTPResponse(200, body: Array((earlier == 0 ? "hullo" : "hello").utf8))
    } _: { store in
      let found = try await store.get(hello)
      #expect(found == Bytes("hello"))
    }
    #expect(requests.count == 2)
    for answer in ["hullo", "hell", "hello!", String(repeating: "x", count: 100_000)] {
      _ = try await store { _, _ in
        HTTPResponse(200, body: Array(answer.utf8))
      } _: { store in
        await expect(.permanent, "is not what was written") { _ = try await store.get(hello) }
      }
    }
  }

  private func expect(_ kind: StageError.Kind, _ text: String, _ body: () async throws -> Void) async {
    await #expect { try await body() } throws: { error in
      guard let error = error as? StageError else { return false }
      #expect(error.kind == kind && error.message.contains(text), "\(error)")
      #expect(!"\(error)".contains("very-secret"))
      return true
    }
  }
}

import ContentConformance
import Network
import Pipeline
import S3ContentStore
import Testing

@Suite("S3 conformance", .enabled(if: TestS3.isThere, TestS3.howToGetIt), .timeLimit(.minutes(2)))
struct ConformanceTests {
  @Test(arguments: ContentConformance.cases) func conformance(_ one: ContentConformance.Case) async throws {
    let settings = try #require(TestS3.settings)
    let relay = try await Relay(to: SocketAddress(parsing: String(settings.endpoint.dropFirst("http://".count))))
    var through = settings
    through.endpoint = "http://\(relay.address)"
    try await one.run(
      ContentConformance.Bench(
        store: try S3ContentStore(through), other: try S3ContentStore(settings),
        overwrite: { try await TestS3.overwrite(settings, $0, $1) },
        setReachable: { try await relay.set(isThere: $0) }))
    try await relay.stop()
  }

  @Test func whatIsWrongIsSaidAndNoSecretWithIt() async throws {
    let good = try #require(TestS3.settings)
    try await S3ContentStore(good).probe()
    func wrong(_ change: (inout Topology.S3Settings) -> Void, _ hint: String) async throws {
      var settings = good
      change(&settings)
      let store = try S3ContentStore(settings)
      await #expect { try await store.probe() } throws: { error in
        guard let error = error as? StageError else { return false }
        #expect(!"\(error)".contains(settings.secretKey))
        return error.kind == .dependencyDown("content store") && error.message.contains(hint)
      }
    }
    try await wrong({ $0.secretKey = "not-the-secret" }, "SignatureDoesNotMatch")
    try await wrong({ $0.accessKey = "nobody" }, "InvalidAccessKeyId")
    try await wrong({ $0.bucket = "no-such-\(SystemRandom().next())" }, "NoSuchBucket")
  }
}

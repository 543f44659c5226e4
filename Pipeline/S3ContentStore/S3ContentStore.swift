import Network
import OpenSSL
public import Pipeline

/// Content under its SHA-256 in a bucket of S3: `PREFIX/ab/cdef…`, the names that a folder would have.
///
/// What S3 has acknowledged is durable, whole, and seen by every node. When an object was last put is its
/// `Last-Modified`, for garbage collection: see `put`.
public final class S3ContentStore: ContentStore {
  private let settings: Topology.S3Settings
  private let clock: any PipelineClock
  private let random: any RandomSource
  private let loop: EventLoop
  private let client: HTTPClient
  /// Digests of megabytes are computed here rather than on whatever loop the caller lives on.
  private static let threads = ThreadPool(threads: 2)

  private static let attempts = 4
  /// No further attempt begins after so long: the callers have clocks of their own, and the stage a circuit.
  private static let patience = Duration.seconds(10)
  /// An object younger than this is not put again. Garbage collection has to spare at least a day.
  private static let freshness = Duration.seconds(3600)

  /// A store with these settings. Nothing is asked before it is used: see `probe`.
  ///
  /// - Throws: `StageError`: `dependencyDown` when threads or descriptors are short.
  public init(
    _ settings: Topology.S3Settings, clock: any PipelineClock = SystemClock.shared,
    random: any RandomSource = SystemRandom()
  ) throws {
    self.settings = settings
    self.clock = clock
    self.random = random
    var options = HTTPClient.Options()
    options.authorities = settings.authorities
    do { loop = try EventLoop() } catch { throw StageError.dependencyDown("content store", error.description) }
    client = HTTPClient(loop: loop, options)
  }

  deinit {
    client.close()
    loop.stop()
  }

  /// See `ContentStore.put`.
  ///
  /// Content that is there already is put anew, which renews its time and mends it if it is damaged; unless it was put
  /// within the last hour, by the clock of S3. A copy onto itself would spare the upload, but is a thing that servers
  /// other than Amazon's do differently; and most repeats come within seconds: the mailbox's after the intake's.
  ///
  /// - Throws: `StageError`: `dependencyDown`, also when S3 refuses for good: mail waits until somebody mends it.
  public func put(_ bytes: Bytes) async throws -> ContentReference {
    try await withTaskExecutorPreference(Self.threads) { try await self.write(bytes) }
  }

  /// See `ContentStore.get`.
  ///
  /// - Throws: `StageError`: permanent `content.missing` or `content.corrupt`, `dependencyDown`.
  public func get(_ reference: ContentReference) async throws -> Bytes {
    try await withTaskExecutorPreference(Self.threads) { try await self.read(reference) }
  }

  /// See `ContentStore.probe`: whether the bucket is there, and the key good.
  public func probe() async throws {
    // A listing rather than HEAD: the answer to a HEAD has no body that would say what is wrong.
    let prefix = settings.prefix.split(separator: "/").joined(separator: "%2F")
    let bucket = "\(settings.endpoint)/\(settings.bucket)"
    let response = try await answer(request("GET", "\(bucket)?list-type=2&max-keys=1&prefix=\(prefix)"))
    try expectGood(response)
  }

  @concurrent
  private func write(_ bytes: Bytes) async throws -> ContentReference {
    let reference = ContentReference(digest: SHA256.hash(bytes).description, size: bytes.count)
    let head = try await answer(request("HEAD", url(reference)))
    if head.status == 200, head.field("content-length") == "\(bytes.count)", let age = head.age, age < Self.freshness {
      return reference
    }
    // Whatever else it said, it says again, with words, to this.
    var put = request("PUT", url(reference))
    put.fields = [("Content-Type", "application/octet-stream"), ("x-amz-content-sha256", reference.digest)]
    put.body = bytes.withUnsafeBytes { Array($0) }
    try expectGood(try await answer(put))
    return reference
  }

  @concurrent
  private func read(_ reference: ContentReference) async throws -> Bytes {
    // A URL is made of it: nothing but a digest may become one.
    guard Digest256(hex: reference.digest) != nil else {
      throw StageError.permanent("content.missing", "“\(reference.digest.prefix(100))” is no SHA-256")
    }
    let url = url(reference)
    var get = request("GET", url)
    get.answerLimit = max(reference.size, 65_536)
    // What is between us and S3 may be to blame, so damage is looked at twice.
    for _ in 0..<2 {
      let response = try await answer(get)
      if S3Answer(response) == .missing { throw StageError.permanent("content.missing", "there is no \(url)") }
      try expectGood(response)
      guard response.body.count == reference.size, SHA256.hash(response.body).description == reference.digest else {
        continue
      }
      return Bytes(response.body)
    }
    throw StageError.permanent("content.corrupt", "\(url) is not what was written: its size or SHA-256 differs")
  }

  // MARK: Asking

  private func url(_ reference: ContentReference) -> String {
    "\(settings)/\(reference.digest.prefix(2))/\(reference.digest.dropFirst(2))"
  }

  private func request(_ method: String, _ url: String) -> HTTPClient.Request {
    var request = HTTPClient.Request(method, url)
    request.signature = HTTPClient.AWSSignature(
      region: settings.region, service: "s3", accessKey: settings.accessKey, secretKey: settings.secretKey)
    request.timeout = .seconds(120)
    return request
  }

  /// An answer that is not `busy`. Asks again, with growing and random pauses, while there is hope.
  private func answer(_ request: HTTPClient.Request) async throws -> HTTPClient.Response {
    let begin = clock.now
    var attempt = 1
    while true {
      let trouble: String
      do throws(HTTPClient.Failure) {
        let response = try await client.send(request)
        guard case .busy(let words) = S3Answer(response) else { return response }
        trouble = words
      } catch {
        switch error.kind {
        case .cancelled: throw CancellationError()
        case .unreachable, .timedOut, .malformed, .system: trouble = error.description
        case .tls, .invalid: throw down(error.description)
        case .tooLarge:
          throw StageError.permanent("content.corrupt", "\(request.url) is not what was written: it is larger")
        }
      }
      guard attempt < Self.attempts, clock.now - begin < Self.patience else { throw down(trouble) }
      let pause = 200 << (attempt - 1)
      try await clock.sleep(for: .milliseconds(pause / 2 + Int(random.next() % UInt64(pause))))
      attempt += 1
    }
  }

  private func expectGood(_ response: HTTPClient.Response) throws {
    switch S3Answer(response) {
    case .good: return
    case .missing: throw down("it has no such key")
    case .busy(let words), .refused(let words): throw down(words)
    }
  }

  private func down(_ words: String) -> StageError {
    .dependencyDown("content store", "S3 \(settings): \(words)")
  }
}

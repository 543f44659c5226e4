import Unbound

/// Asks the DNS, by libunbound: it remembers answers and validates signatures.
///
/// It lives on an event loop, where it takes little; any task may ask. Each resolver has a cache of its own. The
/// answers of all methods are for the names as they are: no search list, no `/etc/hosts`.
public final class Resolver: Sendable {
  /// What holds for all questions.
  public struct Options: Sendable {
    /// The name servers to ask; without any, those that `serverFile` names.
    public var servers: [SocketAddress] = []
    /// Like resolv.conf(5), of which only `nameserver` counts; without such a line it is 127.0.0.1. Read once. Nil, and
    /// no `servers`: the servers of the domains are asked themselves, the root's first.
    public var serverFile: String? = "/etc/resolv.conf"
    /// A file with DS or DNSKEY records of the root or of other domains, whose answers are validated. Without it, every
    /// answer is insecure. Debian has the root's in /usr/share/dns/root.key (dns-root-data).
    public var trustAnchorFile: String?
    /// For one question, with the time for which it waits for others.
    public var timeout = Duration.seconds(10)
    /// Questions under way at once. Of those that nobody waits for any more, three times as many may be under way.
    public var concurrent = 256
    /// Questions beyond those, which wait. Others fail with `overloaded`.
    public var waiting = 4096
    /// Bytes of an answer.
    public var answerLimit = 65_535
    /// Bytes of answers that are remembered, roughly.
    public var cacheSize = 8 << 20
    /// For tests: records as in zone files, "example.net. 300 IN MX 10 mx.example.net.". If it is given, nobody is
    /// asked, and no other name exists.
    public var onlyRecords: [String]?
    /// The defaults.
    public init() {}
  }

  private let loop: EventLoop
  private let questions: ResolverQuestions

  /// A resolver on `loop`. The options are read at the first question, or by `check`.
  public init(loop: EventLoop, _ options: Options = Options()) {
    self.loop = loop
    questions = ResolverQuestions(loop, options)
  }

  deinit { close() }

  /// Throws `unusable` if nothing can be asked with these options.
  public func check() async throws(Failure) {
    let (loop, questions) = (loop, questions)
    let failure: Failure? = await withUnsafeContinuation { continuation in
      loop.execute { continuation.resume(returning: questions.check()) }
    }
    if let failure { throw failure }
  }

  /// Ends what is under way with `cancelled`, soon. The loop may be stopped behind it.
  public func close() {
    let questions = questions
    loop.execute { questions.close() }
  }

  /// How many questions there are: that are asked, that wait to be, and that libunbound is busy with.
  func load() async -> (asked: Int, waiting: Int, underWay: Int) {
    let (loop, questions) = (loop, questions)
    return await withUnsafeContinuation { continuation in
      loop.execute { continuation.resume(returning: questions.load) }
    }
  }

  /// Asks for the records of a name. Throws `cancelled` as soon as the task is.
  func records(_ kind: DNSRecord.Kind, of name: DNSName) async throws(Failure) -> Answer<DNSRecord.Data> {
    let (loop, questions) = (loop, questions)
    let question = ResolverQuestions.Question(name, kind)
    let result = await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        if loop.isOnLoop {
          questions.ask(question, continuation)
        } else {
          loop.execute { questions.ask(question, continuation) }
        }
      }
    } onCancel: {
      loop.execute { questions.cancel(question) }
    }
    return try result.get()
  }
}

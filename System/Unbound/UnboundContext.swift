import CUnbound
public import Event
import Glibc

/// A resolver of libunbound on an event base: it asks, validates and remembers.
///
/// Everything is called on the base's thread. Settings come first: the first question, zone or record ends that.
/// libunbound's own log, which is the process's, is silenced.
public final class UnboundContext {
  private var context: OpaquePointer?
  private let base: EventBase  // outlives the context

  /// What came of a question.
  public struct Answer {
    /// How the answer was validated.
    public enum Security: Sendable {
      /// Nothing says that it has to be signed.
      case insecure
      /// It has to be signed, and is not, or wrongly.
      case bogus
      /// It is signed, up to a trust anchor.
      case secure
    }
    /// 0, or the response code of a question that got no answer, mostly 2 (SERVFAIL).
    public let code: Int
    /// The answer as a DNS message; empty unless `code` is 0.
    public let message: [UInt8]
    /// Whether it can be believed.
    public let security: Security
    /// libunbound's words for what is bogus.
    public let reason: String
  }

  /// One that knows nobody to ask but the root servers. Throws when memory is short.
  public init(_ base: EventBase) throws(UnboundError) {
    self.base = base
    guard let context = ub_ctx_create_event(base.native) else { throw UnboundError(reason: "no memory for a resolver") }
    self.context = context
    ub_ctx_debugout(context, nil)
  }

  deinit {
    assert(context == nil, "an UnboundContext was dropped before close()")
  }

  /// Sets what unbound.conf(5) calls `name` in its section `server:`.
  public func set(_ name: String, _ value: String) throws(UnboundError) {
    try check(ub_ctx_set_option(context, name + ":", value), "\(name): \(value)")
  }

  /// Asks this server, "127.0.0.1@53"; may be repeated.
  public func forward(to server: String) throws(UnboundError) {
    try check(ub_ctx_set_fwd(context, server), "the server \(server)")
  }

  /// Asks the servers that a file like resolv.conf(5) names.
  public func readServers(_ file: String) throws(UnboundError) {
    try check(ub_ctx_resolvconf(context, file), file)
  }

  /// Validates with the DS and DNSKEY records in this file, which it must hold; it is read at the end of the settings.
  public func trust(_ file: String) throws(UnboundError) {
    guard let stream = fopen(file, "r") else {
      throw UnboundError(reason: "\(file): \(String(cString: strerror(errno)))")
    }
    defer { fclose(stream) }
    // libunbound takes a file without any, and validates nothing then.
    var line = [UInt8](repeating: 0, count: 4096)
    var isThere = false
    while !isThere, line.withUnsafeMutableBytes({ fgets($0.baseAddress, Int32($0.count), stream) }) != nil {
      let words = line.prefix { $0 != 0 && $0 != UInt8(ascii: ";") }.split { $0 <= 32 }
      isThere = words.contains { ["DS", "DNSKEY"].contains(String(decoding: $0, as: UTF8.self).uppercased()) }
    }
    guard isThere else { throw UnboundError(reason: "\(file) holds no DS or DNSKEY record") }
    try check(ub_ctx_add_ta_file(context, file), file)
  }

  /// Ends the settings: a zone that is answered from here, of a type of unbound.conf(5), as `static`.
  public func addZone(_ name: String, type: String) throws(UnboundError) {
    try check(ub_ctx_zone_add(context, name, type), "the zone \(name)")
  }

  /// Ends the settings: a record that is answered from here, "example.net. 300 IN A 192.0.2.1".
  public func addRecord(_ record: String) throws(UnboundError) {
    try check(ub_ctx_data_add(context, record), "the record “\(record)”")
  }

  /// Asks for the records of a type of a name, and calls `handler` once: in here, if the answer is known, or later,
  /// when `close` has begun at the latest. It may ask again, but not close.
  ///
  /// There is no way back: libunbound can be told not to call, but not to stop asking.
  ///
  /// - Parameter name: must be a good name: libunbound keeps what it was asked for a bad one.
  /// - Throws: instead of calling `handler`, when memory is short or the settings cannot be used.
  public func resolve(_ name: String, type: UInt16, _ handler: @escaping (Answer) -> Void) throws(UnboundError) {
    let question = Unmanaged.passRetained(Question(handler))
    let code = ub_resolve_event(context, name, Int32(type), 1, question.toOpaque(), answered, nil)
    if code != 0 { question.release() }
    try check(code, "the question for \(name)")
  }

  /// Ends all questions, with code 2, before the last reference goes. Not from within a handler.
  public func close() {
    guard let context else { return }
    self.context = nil
    ub_ctx_delete(context)
  }

  private func check(_ code: Int32, _ what: String) throws(UnboundError) {
    if code != 0 { throw UnboundError(reason: "\(what): \(String(cString: ub_strerror(code)))") }
  }
}

/// libunbound refused.
public struct UnboundError: Error, Sendable {
  /// What it did not take, and why.
  public let reason: String

  /// For a setting that its user does not take.
  public init(reason: String) { self.reason = reason }
}

private final class Question {
  let handler: (UnboundContext.Answer) -> Void

  init(_ handler: @escaping (UnboundContext.Answer) -> Void) { self.handler = handler }
}

private func answered(
  _ context: UnsafeMutableRawPointer?, _ code: Int32, _ message: UnsafeMutableRawPointer?, _ length: Int32,
  _ security: Int32, _ reason: UnsafeMutablePointer<CChar>?, _ wasLimited: Int32
) {
  guard let context else { return }
  let question = Unmanaged<Question>.fromOpaque(context).takeRetainedValue()
  let bytes = code == 0 ? UnsafeRawBufferPointer(start: message, count: message == nil ? 0 : Int(length)) : nil
  question.handler(
    UnboundContext.Answer(
      code: Int(code), message: bytes.map { Array($0) } ?? [],
      security: security == 2 ? .secure : security == 1 ? .bogus : .insecure,
      reason: reason.map { String(cString: $0) } ?? ""))
}

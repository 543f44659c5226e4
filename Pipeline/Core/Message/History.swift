/// One entry of a message's timeline.
public struct HistoryEvent: Sendable, Hashable {
  /// What happened.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// A source made it durable.
    case accepted
    /// A stage is done with it.
    case done
    /// It was in the topic of a stage that is not its turn, and was forwarded unprocessed.
    case moved
    /// It became several parts, or this part was made.
    case split
    /// It takes long, and moved to the slow lane while the work goes on.
    case slow
    /// It was in hand when a process died on its own, and is tried alone.
    case suspect
    /// A try failed; the next one is due later.
    case retry
    /// It was given up.
    case dead
    /// An operator sent a dead letter on its way again.
    case replayed
    /// It ended on purpose.
    case dropped
    /// It went back to its sender.
    case bounced
    /// An operator threw it away.
    case purged
  }

  /// When.
  public let at: Timestamp
  /// What happened.
  public let kind: Kind
  /// Where; empty for `accepted`.
  public let stage: String
  /// Which try of the stage: 1 and up; 0 where that makes no sense.
  public let attempt: Int
  /// How long it waited in the topic before.
  public let wait: Duration
  /// How long the stage worked on it.
  public let work: Duration
  /// A reason, a name; at most 200 bytes are kept.
  public let detail: String

  /// One entry of a timeline.
  public init(
    at: Timestamp, _ kind: Kind, stage: String = "", attempt: Int = 0, wait: Duration = .zero, work: Duration = .zero,
    detail: String = ""
  ) {
    self.at = at
    self.kind = kind
    self.stage = stage
    self.attempt = attempt
    self.wait = wait
    self.work = work
    self.detail = detail
  }

  /// A line: `AT-MS KIND STAGE ATTEMPT WAIT-MS WORK-MS DETAIL`, `-` for no stage.
  var line: String {
    let flat = detail.utf8.prefix(200).map { $0 < 32 ? UInt8(ascii: " ") : $0 }
    return "\(at.milliseconds) \(kind.rawValue) \(stage.isEmpty ? "-" : stage) \(attempt) \(wait.milliseconds) "
      + "\(work.milliseconds) \(String(decoding: flat, as: UTF8.self))"
  }

  /// Reads a line; nil if it is none.
  init?(line: some StringProtocol) {
    let fields = line.split(separator: " ", maxSplits: 6, omittingEmptySubsequences: false)
    guard fields.count == 7, let at = Int64(fields[0]), let kind = Kind(rawValue: String(fields[1])),
      let attempt = Int(fields[3]), let wait = Int64(fields[4]), let work = Int64(fields[5])
    else { return nil }
    self.init(
      at: Timestamp(milliseconds: at), kind, stage: fields[2] == "-" ? "" : String(fields[2]), attempt: attempt,
      wait: .milliseconds(wait), work: .milliseconds(work), detail: String(fields[6]))
  }
}

extension Message {
  /// The most events that a message carries; beyond it the oldest but the first eight give way.
  static let maximumHistory = 64

  /// What has happened to it, oldest first.
  public var history: [HistoryEvent] { HistoryEvent.read(headers) }

  /// Adds to the timeline.
  mutating func note(_ event: HistoryEvent) {
    var lines = headers.bytes(HeaderName.history).map(Array.init) ?? []
    if lines.lazy.filter({ $0 == UInt8(ascii: "\n") }).count >= Self.maximumHistory {
      var kept = lines.split(separator: UInt8(ascii: "\n"))
      kept.removeSubrange(8..<min(16, kept.count))
      lines = Array(kept.joined(separator: [UInt8(ascii: "\n")])) + [UInt8(ascii: "\n")]
    }
    lines.append(contentsOf: event.line.utf8)
    lines.append(UInt8(ascii: "\n"))
    headers.set(HeaderName.history, lines)
  }

  /// Stages of its flow that are done with it, in the order in which they were.
  public var done: [String] { names(HeaderName.done) }
  /// Stages of its flow that an outcome skipped.
  public var skipped: [String] { names(HeaderName.skipped) }

  mutating func markDone(_ stage: String) { add(stage, to: HeaderName.done) }
  mutating func markSkipped(_ stage: String) { add(stage, to: HeaderName.skipped) }

  private func names(_ header: String) -> [String] {
    headers.bytes(header)?.split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) } ?? []
  }

  private mutating func add(_ stage: String, to header: String) {
    guard !names(header).contains(stage) else { return }
    var list = headers.bytes(header).map(Array.init) ?? []
    if !list.isEmpty { list.append(UInt8(ascii: ",")) }
    list.append(contentsOf: stage.utf8)
    headers.set(header, list)
  }

  /// Forgets the failures of the stage that it leaves.
  mutating func clearFailures() {
    for name in [HeaderName.failures, HeaderName.firstFailure, HeaderName.spent, HeaderName.due] {
      headers.remove(name)
    }
  }
}

extension HistoryEvent {
  /// The timeline that a record carries.
  static func read(_ headers: Headers) -> [HistoryEvent] {
    headers.bytes(HeaderName.history)?.split(separator: UInt8(ascii: "\n")).compactMap {
      HistoryEvent(line: String(decoding: $0, as: UTF8.self))
    } ?? []
  }
}

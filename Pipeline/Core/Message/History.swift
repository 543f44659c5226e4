import Glibc

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

  /// Writes a line: `AT-MS KIND STAGE ATTEMPT WAIT-MS WORK-MS DETAIL`, `-` for no stage. Every hop does this.
  func write(to line: inout [UInt8]) {
    let space = UInt8(ascii: " ")
    line.appendDecimal(at.milliseconds)
    line.append(space)
    line.append(contentsOf: kind.rawValue.utf8)
    line.append(space)
    if stage.isEmpty { line.append(UInt8(ascii: "-")) } else { line.append(contentsOf: stage.utf8) }
    for number in [Int64(attempt), wait.milliseconds, work.milliseconds] {
      line.append(space)
      line.appendDecimal(number)
    }
    line.append(space)
    guard !detail.isEmpty else { return }
    var bytes = Array(detail.utf8.prefix(200))
    // A character that was cut in two goes as a whole.
    if detail.utf8.count > 200, let first = bytes.lastIndex(where: { $0 & 0xC0 != 0x80 }), bytes[first] >= 0xC0 {
      bytes.removeSubrange(first...)
    }
    line.append(contentsOf: bytes.map { $0 < 32 ? space : $0 })
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
    let newline = UInt8(ascii: "\n")
    // No line is shorter than two dozen bytes.
    let isFull = headers.withBytes(HeaderName.history) { lines in
      lines.count > 24 * Self.maximumHistory
        && lines.reduce(0) { $0 + ($1 == newline ? 1 : 0) } >= Self.maximumHistory
    }
    if isFull {
      var kept = (headers.bytes(HeaderName.history) ?? []).split(separator: newline)
      kept.removeSubrange(8..<min(16, kept.count))
      headers.set(HeaderName.history, Array(kept.joined(separator: [newline])) + [newline])
    }
    headers.extend(HeaderName.history) { lines, _ in
      event.write(to: &lines)
      lines.append(newline)
    }
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
    guard !headers.withBytes(header, { NameList.contains(stage, in: $0) }) else { return }
    headers.extend(header) { list, isEmpty in
      if !isEmpty { list.append(NameList.comma) }
      list.append(contentsOf: stage.utf8)
    }
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

/// Names with commas between them, as headers keep them.
enum NameList {
  static let comma = UInt8(ascii: ",")

  static func contains(_ name: String, in list: UnsafeRawBufferPointer) -> Bool {
    guard let base = list.baseAddress else { return false }
    var name = name
    return name.withUTF8 { name in
      var start = 0
      while start + name.count <= list.count {
        let end =
          memchr(base + start, Int32(comma), list.count - start).map { UnsafeRawPointer($0) - base } ?? list.count
        if end - start == name.count, name.baseAddress.map({ memcmp(base + start, $0, name.count) == 0 }) ?? true {
          return true
        }
        start = end + 1
      }
      return false
    }
  }
}

extension [UInt8] {
  /// Appends the digits of a number.
  mutating func appendDecimal(_ number: Int64) {
    if number < 0 { append(UInt8(ascii: "-")) }
    var rest = number.magnitude
    let start = count
    repeat {
      append(UInt8(ascii: "0") + UInt8(rest % 10))
      rest /= 10
    } while rest > 0
    self[start...].reverse()
  }
}

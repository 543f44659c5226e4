/// Reads what follows DATA up to CR LF `.` CR LF, taking away the dots that were put in (RFC 5321 section 4.5.2).
///
/// Nothing else ends a message: a bare CR or LF is no line end, however many dots stand around it, and makes the message
/// one that is refused. Such a message, and one beyond a limit, is read on to its end, and not kept.
public struct SMTPDataReader: Sendable {
  /// Why the message cannot be taken; the worst wins, so that the answer does not depend on how bytes arrive.
  public enum Defect: Int, Sendable, Comparable {
    /// Larger than the limit.
    case tooLarge
    /// A line is longer than the limit.
    case lineTooLong
    /// A CR without LF or an LF without CR.
    case bareLineEnding

    /// The less grave first.
    public static func < (left: Defect, right: Defect) -> Bool { left.rawValue < right.rawValue }
  }

  /// Octets of the longest line that is taken, without its line end. RFC 5321 section 4.5.3.1.6 asks for 998; more is
  /// seen in practice.
  public static let maximumLineLength = 64 * 1024

  private enum State {
    case lineStart
    /// Behind a dot at the start of a line.
    case dot
    /// Behind a dot and a CR at the start of a line.
    case dotReturn
    case line
    /// Behind a CR within a line.
    case lineReturn
    case end
  }

  private let limit: Int
  private var state = State.lineStart
  /// Octets of the present line, without its line end.
  private var lineLength = 0
  private var isDiscarding = false

  /// The message so far, line ends included; empty once there is a defect.
  public private(set) var content: [UInt8] = []
  /// Octets of the message so far, kept or not.
  public private(set) var size = 0
  /// Why the message cannot be taken.
  public private(set) var defect: Defect?

  /// Reads a message of at most `limit` octets.
  public init(limit: Int) { self.limit = limit }

  /// Whether the end has been read.
  public var isComplete: Bool { state == .end }

  /// Takes bytes up to the end of the message, or all of them, and says how many.
  public mutating func read(_ bytes: UnsafeRawBufferPointer) -> Int {
    var at = 0
    // What will be kept of `bytes` is collected as runs, each copied at once: between two stuffed dots lies one.
    var runStart = 0
    while at < bytes.count, state != .end {
      switch state {
      case .lineStart:
        lineLength = 0
        if bytes[at] == Self.dot {
          keep(bytes, runStart..<at)
          at += 1
          runStart = at
          state = .dot
        } else {
          state = .line
        }
      case .dot:
        if bytes[at] == Self.carriageReturn {
          // Held back: it belongs to the message only if no LF follows, and then the message is refused.
          at += 1
          runStart = at
          state = .dotReturn
        } else {
          state = .line
        }
      case .dotReturn:
        runStart = at
        if bytes[at] == Self.lineFeed {
          at += 1
          runStart = at
          state = .end
        } else {
          fail(.bareLineEnding)
          state = .line
        }
      case .line: at = readLine(bytes, at)
      case .lineReturn:
        if bytes[at] == Self.lineFeed {
          at += 1
          state = .lineStart
        } else {
          fail(.bareLineEnding)
          state = .line
        }
      case .end: break
      }
    }
    keep(bytes, runStart..<max(runStart, state == .end ? runStart : at))
    return at
  }

  /// Reads on within a line: to behind its CR LF, to a CR that ends the bytes, or to their end.
  private mutating func readLine(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int {
    let end = bytes.firstIndex(of: Self.lineFeed, from: start) ?? bytes.count
    let firstReturn = UnsafeRawBufferPointer(rebasing: bytes[..<end]).firstIndex(of: Self.carriageReturn, from: start)
    let isBroken = firstReturn.map { $0 < end - 1 } ?? (end < bytes.count)
    if isBroken { fail(.bareLineEnding) }
    let hasReturn = end > start && bytes[end - 1] == Self.carriageReturn
    count(end - start - (hasReturn ? 1 : 0))
    guard end < bytes.count else {
      state = hasReturn ? .lineReturn : .line
      return end
    }
    // A bare LF does not end the line: what follows it is no line start.
    state = hasReturn ? .lineStart : .line
    return end + 1
  }

  /// Stops keeping the message: it is only read to its end.
  mutating func discard() {
    isDiscarding = true
    content = []
  }

  private mutating func count(_ octets: Int) {
    lineLength += octets
    if lineLength > Self.maximumLineLength { fail(.lineTooLong) }
  }

  private mutating func keep(_ bytes: UnsafeRawBufferPointer, _ run: Range<Int>) {
    guard !run.isEmpty else { return }
    size += run.count
    if size > limit { fail(.tooLarge) }
    guard defect == nil, !isDiscarding else { return }
    content.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[run]))
  }

  private mutating func fail(_ reason: Defect) {
    defect = defect.map { max($0, reason) } ?? reason
    content = []
  }

  private static let dot = UInt8(ascii: ".")
  private static let carriageReturn: UInt8 = 13
  private static let lineFeed: UInt8 = 10
}

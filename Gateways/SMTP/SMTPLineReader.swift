import Glibc

/// Cuts what a client sends into command lines. Only CR LF ends one.
///
/// A bare LF is answered at once, since nothing else may come, and what follows it up to the next CR LF is thrown away:
/// no part of a line with a wrong ending is ever taken for a command. Holds bytes only in the middle of a line.
struct SMTPLineReader {
  enum Event: Equatable {
    /// A line without its line end, free of CR, LF and NUL.
    case line([UInt8])
    case bareLineFeed
    case bareReturn
    case nul
    case tooLong
    /// So long that waiting for its end makes no sense.
    case flood
  }

  /// Octets of the longest line with its line end.
  static let limit = SMTPCommandParser.maximumExtendedLineLength
  /// Octets of a line after which the client is not listened to any more.
  static let floodLimit = 64 * 1024

  private enum Mode {
    case collecting
    /// Longer than the limit: answered at its end.
    case tooLong
    /// Behind a bare LF, which was answered.
    case afterBareLineFeed
  }

  private var partial: [UInt8] = []
  private var mode = Mode.collecting
  private var lastWasReturn = false
  private var length = 0

  /// Whether a line has begun.
  var isInLine: Bool { length > 0 || mode != .collecting }

  /// Takes bytes up to the end of a line, or all of them.
  mutating func read(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, event: Event?) {
    var start = 0
    while start < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
      guard let end = rest.firstIndex(of: 10, from: 0) else {
        length += rest.count
        lastWasReturn = rest.last == 13
        guard length <= Self.floodLimit else {
          reset()
          return (bytes.count, .flood)
        }
        if mode == .collecting {
          if partial.count + rest.count >= Self.limit {
            mode = .tooLong
            partial = []
          } else {
            partial.append(contentsOf: rest)
          }
        }
        return (bytes.count, nil)
      }
      let event = finish(UnsafeRawBufferPointer(rebasing: rest[..<end]))
      start += end + 1
      if let event { return (start, event) }
    }
    return (bytes.count, nil)
  }

  /// `rest` is what a line had before its LF, behind what is held already.
  private mutating func finish(_ rest: UnsafeRawBufferPointer) -> Event? {
    let endsWithReturn = rest.last.map { $0 == 13 } ?? lastWasReturn
    let total = length + rest.count + 1
    if total > Self.floodLimit {
      reset()
      return .flood
    }
    guard endsWithReturn else {
      reset()
      length = total
      mode = .afterBareLineFeed
      return .bareLineFeed
    }
    defer { reset() }
    switch mode {
    case .afterBareLineFeed: return nil
    case .tooLong: return .tooLong
    case .collecting:
      guard total <= Self.limit else { return .tooLong }
      var line = partial
      line.append(contentsOf: rest)
      line.removeLast()
      if line.contains(13) { return .bareReturn }
      return line.contains(0) ? .nul : .line(line)
    }
  }

  private mutating func reset() { self = SMTPLineReader() }
}

extension UnsafeRawBufferPointer {
  /// The first place of `byte` at `start` or behind it, by memchr.
  func firstIndex(of byte: UInt8, from start: Int) -> Int? {
    guard let baseAddress, start < count, let found = memchr(baseAddress + start, Int32(byte), count - start) else {
      return nil
    }
    return UnsafeRawPointer(found) - baseAddress
  }
}

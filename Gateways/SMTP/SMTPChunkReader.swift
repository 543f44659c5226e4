/// Reads the chunks of a message that BDAT announces (RFC 3030): so many octets each, whatever they are.
///
/// A bare CR or LF makes the message one that is refused, as with DATA: there is no BINARYMIME here, and whoever is given
/// the message later may take such a line end for one. What is refused is read on to its end, and not kept.
struct SMTPChunkReader: Sendable {
  /// The message so far; empty once there is a defect.
  private(set) var content: [UInt8] = []
  /// Octets of the message so far, kept or not.
  private(set) var size = 0
  /// Octets of the present chunk that have not come yet.
  private(set) var left = 0
  /// The present chunk is the last one.
  private(set) var isLast = false

  private let limit: Int
  private var lineLength = 0
  private var lastWasReturn = false
  private var isDiscarding = false
  private var worst: SMTPDataReader.Defect?

  /// Reads a message of at most `limit` octets.
  init(limit: Int) { self.limit = limit }

  /// Why the message cannot be taken.
  var defect: SMTPDataReader.Defect? {
    isLast && left == 0 && lastWasReturn ? .bareLineEnding : worst
  }

  /// Goes on with a chunk of `octets`.
  mutating func begin(octets: Int, isLast: Bool) {
    left = octets
    self.isLast = isLast
    // Known before it has come: nothing of it need be kept.
    if octets > limit - min(size, limit) { fail(.tooLarge) }
  }

  /// Takes bytes up to the end of the chunk, or all of them, and says how many.
  mutating func read(_ bytes: UnsafeRawBufferPointer) -> Int {
    let chunk = UnsafeRawBufferPointer(rebasing: bytes.prefix(left))
    left -= chunk.count
    size += chunk.count
    checkLines(chunk)
    if worst == nil, !isDiscarding { content.append(contentsOf: chunk) }
    return chunk.count
  }

  /// Stops keeping the message: it is only read to its end.
  mutating func discard() {
    isDiscarding = true
    content = []
  }

  private mutating func checkLines(_ bytes: UnsafeRawBufferPointer) {
    var start = 0
    while start < bytes.count {
      let end = bytes.firstIndex(of: 10, from: start) ?? bytes.count
      if lastWasReturn, end > start { fail(.bareLineEnding) }
      let rest = UnsafeRawBufferPointer(rebasing: bytes[..<end])
      if let first = rest.firstIndex(of: 13, from: start), first < end - 1 { fail(.bareLineEnding) }
      let endsWithReturn = end > start ? bytes[end - 1] == 13 : lastWasReturn
      lineLength += end - start - (end > start && endsWithReturn ? 1 : 0)
      if lineLength > SMTPDataReader.maximumLineLength { fail(.lineTooLong) }
      guard end < bytes.count else {
        lastWasReturn = endsWithReturn
        return
      }
      if endsWithReturn { lineLength = 0 } else { fail(.bareLineEnding) }
      lastWasReturn = false
      start = end + 1
    }
  }

  private mutating func fail(_ reason: SMTPDataReader.Defect) {
    worst = worst.map { max($0, reason) } ?? reason
    content = []
  }
}

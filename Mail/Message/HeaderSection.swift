import Glibc
public import Pipeline

/// The header section of a message (RFC 5322 section 2.2), read so that nothing is refused that can still be read.
///
/// Lines may end in CRLF or LF. The section ends at the first empty line, or before the first line that is neither a
/// field nor a continuation. What was found that the standard forbids is noted in `defects`: whether that matters is
/// the caller's decision. Fields are slices of the message; nothing is copied.
public struct HeaderSection: Sendable {
  /// How much is read at most.
  public struct Limits: Sendable, Hashable {
    /// Fields; more are not read.
    public var fields: Int
    /// Bytes of the whole section; a field that begins behind them is not read.
    public var bytes: Int
    /// Limits on the number of fields and the size of the section in bytes.
    public init(fields: Int = 2000, bytes: Int = 512 * 1024) {
      self.fields = fields
      self.bytes = bytes
    }
  }

  /// What the standard forbids and was found.
  public struct Defects: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: Int
    /// From bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// A line that ends in LF alone.
    public static let bareLF = Defects(rawValue: 1)
    /// A CR without LF.
    public static let bareCR = Defects(rawValue: 1 << 1)
    /// A NUL byte.
    public static let nul = Defects(rawValue: 1 << 2)
    /// A byte above 127.
    public static let eightBit = Defects(rawValue: 1 << 3)
    /// A line that is no field, at which the section ended: there was no empty line.
    public static let noEmptyLine = Defects(rawValue: 1 << 4)
    /// Space between a field's name and its colon.
    public static let spaceBeforeColon = Defects(rawValue: 1 << 5)
    /// A line of more than 998 bytes (RFC 5322 section 2.1.1).
    public static let longLine = Defects(rawValue: 1 << 6)
    /// A `From ` line of a mailbox file, or a continuation line before the first field.
    public static let strayLine = Defects(rawValue: 1 << 7)
    /// More fields or bytes than the limits allow.
    public static let beyondLimits = Defects(rawValue: 1 << 8)
  }

  private let message: Bytes
  private let ranges: [Field]
  /// Where the body begins: behind the empty line, at most the message's size.
  public let bodyStart: Int
  /// What the standard forbids and was found.
  public let defects: Defects
  /// The line, 1 and up, at which the first of them was found; nil: none was.
  public let firstDefectLine: Int?

  private struct Field {
    let name: Range<Int>
    let value: Range<Int>
  }

  /// Reads the header section at the start of `message`. Costs at most one pass over the limits and the search for the
  /// empty line.
  public init(_ message: Bytes, limits: Limits = Limits()) { self.init(message, limits: limits) { _ in false } }

  /// The header section of a part: it ends before a line that `isDelimiter`, which is asked about those that begin with
  /// two hyphens.
  init(_ message: Bytes, limits: Limits, endsBefore isDelimiter: (UnsafeRawBufferPointer) -> Bool) {
    self.message = message
    let reading = message.withUnsafeBytes { bytes in
      var reading = Reading(limits: limits)
      reading.read(bytes, isDelimiter)
      return reading
    }
    ranges = reading.fields
    bodyStart = reading.bodyStart
    defects = reading.defects
    firstDefectLine = reading.firstDefectLine
  }

  /// Number of fields.
  public var count: Int { ranges.count }
  /// Every field in order.
  public var fields: [HeaderField] { ranges.map(field) }
  /// The first field of that name, in any case.
  public func first(_ name: String) -> HeaderField? {
    let wanted = Array(name.utf8)
    return message.withUnsafeBytes { bytes in ranges.first { Self.matches(bytes, $0.name, wanted) } }.map(field)
  }
  /// Every field of that name, in any case, in order.
  public func all(_ name: String) -> [HeaderField] {
    let wanted = Array(name.utf8)
    return message.withUnsafeBytes { bytes in ranges.filter { Self.matches(bytes, $0.name, wanted) } }.map(field)
  }
  /// How many fields have that name, in any case.
  public func count(of name: String) -> Int {
    let wanted = Array(name.utf8)
    return message.withUnsafeBytes { bytes in
      ranges.reduce(0) { $0 + (Self.matches(bytes, $1.name, wanted) ? 1 : 0) }
    }
  }

  private func field(_ field: Field) -> HeaderField {
    HeaderField(nameBytes: message[field.name], rawValue: message[field.value])
  }

  private static func matches(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ wanted: [UInt8]) -> Bool {
    guard range.count == wanted.count, range.upperBound <= bytes.count, let base = bytes.baseAddress else {
      return false
    }
    return strncasecmp(base + range.lowerBound, wanted, wanted.count) == 0
  }

  // MARK: Reading

  /// The pass over the bytes, line by line.
  private struct Reading {
    let limits: Limits
    var fields: [Field] = []
    var bodyStart = 0
    var defects: Defects = []
    var firstDefectLine: Int?
    var line = 0

    init(limits: Limits) { self.limits = limits }

    mutating func note(_ defect: Defects) {
      if firstDefectLine == nil { firstDefectLine = line }
      defects.insert(defect)
    }

    mutating func read(_ bytes: UnsafeRawBufferPointer, _ isDelimiter: (UnsafeRawBufferPointer) -> Bool) {
      fields.reserveCapacity(24)
      var at = 0
      while at < bytes.count {
        line += 1
        let newline = bytes.index(of: 10, from: at, to: bytes.count)
        let next = newline.map { $0 + 1 } ?? bytes.count
        var end = newline ?? bytes.count
        if let newline, newline > at, bytes[newline - 1] == 13 {
          end = newline - 1
        } else if newline != nil {
          note(.bareLF)
        }
        if end == at {
          bodyStart = next
          return
        }
        if Self.beginsDelimiter(bytes, at), isDelimiter(UnsafeRawBufferPointer(rebasing: bytes[at..<end])) {
          note(.noEmptyLine)
          bodyStart = at
          return
        }
        if fields.count >= limits.fields || at >= limits.bytes {
          note(.beyondLimits)
          bodyStart = Self.afterEmptyLine(bytes, from: at, isDelimiter)
          return
        }
        guard take(bytes, at..<end) else {
          note(.noEmptyLine)
          bodyStart = at
          return
        }
        at = next
      }
      bodyStart = bytes.count
    }

    /// Takes one line; false: it is no part of a header section.
    private mutating func take(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
      if range.count > 998 { note(.longLine) }
      let text = UnsafeRawBufferPointer(rebasing: bytes[range])
      if bytes[range.lowerBound] == 32 || bytes[range.lowerBound] == 9 {
        inspect(text)
        if let last = fields.popLast() {
          fields.append(Field(name: last.name, value: last.value.lowerBound..<range.upperBound))
        } else {
          note(.strayLine)
        }
        return true
      }
      guard let colon = text.firstIndex(of: UInt8(ascii: ":")) else {
        guard line == 1, text.starts(with: "From ".utf8) else { return false }
        note(.strayLine)
        return true
      }
      var nameEnd = colon
      while nameEnd > 0, text[nameEnd - 1] == 32 || text[nameEnd - 1] == 9 { nameEnd -= 1 }
      // `ftext` of RFC 5322 section 3.6.8. A mailbox file's `From ` line has a colon too, in its time of day.
      guard nameEnd > 0, text[..<nameEnd].allSatisfy({ (33...126).contains($0) }) else {
        guard line == 1, text.starts(with: "From ".utf8) else { return false }
        note(.strayLine)
        return true
      }
      if nameEnd < colon { note(.spaceBeforeColon) }
      inspect(text)
      let start = range.lowerBound
      fields.append(Field(name: start..<start + nameEnd, value: start + colon + 1..<range.upperBound))
      return true
    }

    private mutating func inspect(_ text: UnsafeRawBufferPointer) {
      // Nearly always there is nothing: the first pass has no branch in it.
      var isOdd = false
      for byte in text { isOdd = isOdd || byte == 0 || byte == 13 || byte >= 128 }
      guard isOdd else { return }
      for byte in text where byte == 0 || byte == 13 || byte >= 128 {
        note(byte == 0 ? .nul : byte == 13 ? .bareCR : .eightBit)
      }
    }

    private static func beginsDelimiter(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Bool {
      bytes.count - at >= 2 && bytes[at] == UInt8(ascii: "-") && bytes[at + 1] == UInt8(ascii: "-")
    }

    private static func afterEmptyLine(
      _ bytes: UnsafeRawBufferPointer, from start: Int, _ isDelimiter: (UnsafeRawBufferPointer) -> Bool
    ) -> Int {
      var at = start
      while at < bytes.count, let newline = bytes.index(of: 10, from: at, to: bytes.count) {
        if beginsDelimiter(bytes, at), isDelimiter(UnsafeRawBufferPointer(rebasing: bytes[at..<newline])) { return at }
        if newline == at || newline == at + 1 && bytes[at] == 13 { return newline + 1 }
        at = newline + 1
      }
      return bytes.count
    }
  }
}

/// One field of a header section.
public struct HeaderField: Sendable {
  /// The name as written.
  let nameBytes: Bytes
  /// What stands behind the colon, folds included, the last line's end not.
  public let rawValue: Bytes

  init(nameBytes: Bytes, rawValue: Bytes) {
    self.nameBytes = nameBytes
    self.rawValue = rawValue
  }

  /// The name as written.
  public var name: String { nameBytes.text }

  /// The value on one line (RFC 5322 section 2.2.3), without space at its ends, as bytes.
  public var unfolded: [UInt8] {
    rawValue.withUnsafeBytes { raw in
      var bytes: [UInt8] = []
      bytes.reserveCapacity(raw.count)
      for byte in raw where byte != 13 && byte != 10 { bytes.append(byte) }
      let isSpace = { (byte: UInt8) in byte == 32 || byte == 9 }
      while let last = bytes.last, isSpace(last) { bytes.removeLast() }
      return Array(bytes.drop(while: isSpace))
    }
  }

  /// The value for a person: on one line, encoded words decoded (RFC 2047), control characters as spaces.
  ///
  /// - Parameter limit: the most bytes of the raw value that are looked at.
  public func display(limit: Int = 8192) -> String {
    HeaderText.decode(HeaderField(nameBytes: nameBytes, rawValue: rawValue[0..<min(limit, rawValue.count)]).unfolded)
  }
}

import Glibc
public import Pipeline

/// How a body is written for transport (RFC 2045 section 6).
public enum TransferEncoding: Sendable, Hashable {
  /// As it is: `7bit`, `8bit`, `binary`.
  case identity
  /// Section 6.8.
  case base64
  /// Section 6.7.
  case quotedPrintable
  /// `x-uuencode`, which was never a standard.
  case uuencode

  /// By the value of `Content-Transfer-Encoding`, in any case; nil: nobody knows it.
  public init?(_ name: some StringProtocol) {
    switch name.lowercased() {
    case "", "7bit", "8bit", "binary", "7-bit", "8-bit": self = .identity
    case "base64": self = .base64
    case "quoted-printable": self = .quotedPrintable
    case "x-uuencode", "x-uue", "uuencode": self = .uuencode
    default: return nil
    }
  }
}

/// Decodes a body piece by piece, as far as it can be decoded: whatever the source, it ends, in linear time, and never
/// gives more bytes than the source has.
public struct TransferDecoder: Sendable {
  private let source: Bytes
  private let encoding: TransferEncoding
  private var at = 0
  // Base64: the bits of an unfinished group, and how many characters it has.
  private var bits: UInt32 = 0
  private var characters = 0
  // Quoted-printable and uuencode: where the text of the current line ends, its line break begins, the next one begins.
  private var textEnd = 0
  private var breakStart = 0
  private var lineEnd = 0
  private var isInside = false

  /// A decoder at the beginning of `source`.
  public init(_ encoding: TransferEncoding, _ source: Bytes) {
    self.encoding = encoding
    self.source = source
  }

  /// The whole of `source`, at most `limit` bytes. Without an encoding, it is a slice and no copy.
  public static func decode(_ encoding: TransferEncoding, _ source: Bytes, limit: Int = .max) -> Bytes {
    guard encoding != .identity else { return source[0..<max(0, min(limit, source.count))] }
    var decoder = TransferDecoder(encoding, source)
    let most = encoding == .quotedPrintable ? source.count : source.count / 4 * 3 + 3
    return decoder.next(min(limit, most))
  }

  /// The next bytes, at most `limit`; none at the end.
  public mutating func next(_ limit: Int) -> Bytes {
    Bytes(capacity: min(limit, source.count)) { decode(into: $0) }
  }

  /// How many bytes are still to come.
  public consuming func remaining() -> Int {
    if encoding == .identity { return source.count - at }
    return withUnsafeTemporaryAllocation(byteCount: 16 * 1024, alignment: 1) { chunk in
      var total = 0
      while true {
        let count = decode(into: chunk)
        if count == 0 { return total }
        total += count
      }
    }
  }

  /// Fills `output` as far as there is something; 0: the end.
  mutating func decode(into output: UnsafeMutableRawBufferPointer) -> Int {
    let source = source
    return source.withUnsafeBytes { bytes in
      switch encoding {
      case .identity:
        let count = min(output.count, bytes.count - at)
        output.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]))
        at += count
        return count
      case .base64: return base64(bytes, output)
      case .quotedPrintable: return quotedPrintable(bytes, output)
      case .uuencode: return uuencode(bytes, output)
      }
    }
  }

  // MARK: Base64

  /// Bytes outside the alphabet are passed over (RFC 2045 section 6.8); padding is the end: what mailing lists add
  /// behind it is no base64.
  private mutating func base64(_ source: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) -> Int {
    TransferCoding.base64Values.withUnsafeBufferPointer { values in
      var written = 0
      while at < source.count, written < output.count {
        if characters == 0 {
          while source.count - at >= 4, output.count - written >= 3 {
            let a = values[Int(source[at])]
            let b = values[Int(source[at + 1])]
            let c = values[Int(source[at + 2])]
            let d = values[Int(source[at + 3])]
            if (a | b | c | d) & 0xC0 != 0 { break }
            output[written] = a << 2 | b >> 4
            output[written + 1] = b << 4 | c >> 2
            output[written + 2] = c << 6 | d
            at += 4
            written += 3
          }
          guard at < source.count, written < output.count else { break }
        }
        let value = values[Int(source[at])]
        at += 1
        if value < 64 {
          bits = bits << 6 | UInt32(value)
          if characters > 0 {
            output[written] = UInt8(truncatingIfNeeded: bits >> UInt32(6 - 2 * characters))
            written += 1
          }
          characters = (characters + 1) & 3
        } else if value == TransferCoding.padding, characters >= 2 {
          at = source.count
        }
      }
      return written
    }
  }

  // MARK: Quoted-printable

  private mutating func quotedPrintable(
    _ source: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) -> Int {
    var written = 0
    while at < source.count {
      if at >= lineEnd { findLine(source) }
      guard written < output.count else { break }
      if at < textEnd {
        let equals = source.index(of: UInt8(ascii: "="), from: at, to: textEnd) ?? textEnd
        if equals > at {
          let count = min(equals - at, output.count - written)
          UnsafeMutableRawBufferPointer(rebasing: output[written...]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: source[at..<at + count]))
          written += count
          at += count
        } else if at + 1 == textEnd {
          // A soft line break; at the end of the body, one that lost its line.
          at = lineEnd
        } else if at + 2 < textEnd, let high = TransferCoding.digit(source[at + 1]),
          let low = TransferCoding.digit(source[at + 2])
        {
          output[written] = high << 4 | low
          written += 1
          at += 3
        } else {
          output[written] = source[at]
          written += 1
          at += 1
        }
      } else {
        // Space before a line break was added on the way (rule 3).
        at = max(at, breakStart)
        if at < lineEnd {
          output[written] = source[at]
          written += 1
          at += 1
        }
      }
    }
    return written
  }

  private mutating func findLine(_ source: UnsafeRawBufferPointer) {
    let newline = source.index(of: 10, from: at, to: source.count)
    lineEnd = newline.map { $0 + 1 } ?? source.count
    breakStart = newline ?? source.count
    if newline != nil, breakStart > at, source[breakStart - 1] == 13 { breakStart -= 1 }
    textEnd = breakStart
    while textEnd > at, source[textEnd - 1] == 32 || source[textEnd - 1] == 9 { textEnd -= 1 }
  }

  // MARK: uuencode

  /// Lines between `begin` and `end`; a line's first character says how many bytes it holds, at most 63.
  private mutating func uuencode(_ source: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) -> Int {
    var written = 0
    while at < source.count {
      findLine(source)
      let line = UnsafeRawBufferPointer(rebasing: source[at..<breakStart])
      if !isInside {
        isInside = line.starts(with: "begin".utf8)
      } else if line.starts(with: "end".utf8) {
        at = source.count
        return written
      } else if let first = line.first {
        let count = min(Int((first &- 32) & 63), max(0, (line.count - 1) * 3 / 4))
        guard output.count - written >= count else { return written }
        for index in 0..<count {
          let group = 1 + index / 3 * 4 + index % 3
          let high = (line[group] &- 32) & 63
          let low = group + 1 < line.count ? (line[group + 1] &- 32) & 63 : 0
          switch index % 3 {
          case 0: output[written] = high << 2 | low >> 4
          case 1: output[written] = high << 4 | low >> 2
          default: output[written] = high << 6 | low
          }
          written += 1
        }
      }
      at = lineEnd
    }
    return written
  }
}

/// What decoders of bodies and of encoded words (RFC 2047 section 4) share.
enum TransferCoding {
  /// Not of the alphabet.
  private static let other: UInt8 = 0x40
  /// The value of `=`.
  static let padding: UInt8 = 0x80
  /// The six bits of each character of base64.
  static let base64Values: [UInt8] = {
    var values = [UInt8](repeating: other, count: 256)
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (value, byte) in zip((0 as UInt8)...63, alphabet.utf8) { values[Int(byte)] = value }
    values[Int(UInt8(ascii: "="))] = padding
    return values
  }()

  /// The `Q` encoding of headers (RFC 2047 section 4.2): `_` is a space, and there are no soft line breaks.
  static func decodeQ(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(text.count)
    var at = text.startIndex
    while at < text.endIndex {
      let byte = text[at]
      at += 1
      if byte == UInt8(ascii: "_") {
        output.append(32)
      } else if byte == UInt8(ascii: "="), at + 1 < text.endIndex, let high = digit(text[at]),
        let low = digit(text[at + 1])
      {
        output.append(high << 4 | low)
        at += 2
      } else {
        output.append(byte)
      }
    }
    return output
  }

  /// The value of a hexadecimal digit.
  static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }
}

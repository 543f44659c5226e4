import OpenSSL

/// The identity of a message: a UUID (RFC 9562), version 7 for one that was accepted, version 8 for a part of another.
public struct MessageID: Sendable, Hashable, Comparable {
  /// The upper and lower half, big-endian.
  public let high: UInt64
  /// See `high`.
  public let low: UInt64

  private init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A new version 7 id: the time in milliseconds, then 74 random bits (RFC 9562 section 5.7).
  public init(at time: Timestamp, random: any RandomSource) {
    let milliseconds = UInt64(clamping: time.milliseconds) & 0xFFFF_FFFF_FFFF
    high = milliseconds << 16 | 0x7000 | random.next() & 0x0FFF
    low = 0x8000_0000_0000_0000 | random.next() & 0x3FFF_FFFF_FFFF_FFFF
  }

  /// The id of the part `name` that `stage` makes of this message: always the same one, so that a repeat is recognised
  /// (version 8: bits of a SHA-256, RFC 9562 section 5.8). The time of the whole is kept, so that ids stay sortable.
  public func part(_ name: String, of stage: String) -> MessageID {
    let digest = SHA256.hash(Array("\(self)\n\(stage)\n\(name)".utf8)).bytes
    var bits: (UInt64, UInt64) = (0, 0)
    for index in 0..<8 {
      bits.0 = bits.0 << 8 | UInt64(digest[index])
      bits.1 = bits.1 << 8 | UInt64(digest[index + 8])
    }
    return MessageID(
      high: high & 0xFFFF_FFFF_FFFF_0000 | 0x8000 | bits.0 & 0x0FFF,
      low: 0x8000_0000_0000_0000 | bits.1 & 0x3FFF_FFFF_FFFF_FFFF)
  }

  /// When the message, or the whole that this one is a part of, was accepted.
  public var time: Timestamp { Timestamp(milliseconds: Int64(high >> 16)) }

  /// Reads the form with hyphens, in either case; nil for anything else.
  public init?(_ text: some StringProtocol) { self.init(utf8: Array(text.utf8)) }

  /// Reads the bytes of the form with hyphens.
  public init?(utf8 bytes: some RandomAccessCollection<UInt8>) {
    guard bytes.count == 36 else { return nil }
    var halves: (UInt64, UInt64) = (0, 0)
    var digits = 0
    for (index, byte) in bytes.enumerated() {
      if index == 8 || index == 13 || index == 18 || index == 23 {
        guard byte == UInt8(ascii: "-") else { return nil }
        continue
      }
      let digit: UInt8
      switch byte {
      case 48...57: digit = byte - 48
      case 65...70: digit = byte - 55
      case 97...102: digit = byte - 87
      default: return nil
      }
      if digits < 16 { halves.0 = halves.0 << 4 | UInt64(digit) } else { halves.1 = halves.1 << 4 | UInt64(digit) }
      digits += 1
    }
    high = halves.0
    low = halves.1
  }

  /// Ids of version 7 sort by time.
  public static func < (left: MessageID, right: MessageID) -> Bool {
    left.high != right.high ? left.high < right.high : left.low < right.low
  }
}

extension MessageID: CustomStringConvertible {
  /// 36 characters: lower-case hexadecimal digits with hyphens.
  public var description: String {
    String(unsafeUninitializedCapacity: 36) { buffer in
      var at = 0
      for index in 0..<32 {
        if index == 8 || index == 12 || index == 16 || index == 20 {
          buffer[at] = UInt8(ascii: "-")
          at += 1
        }
        let half = index < 16 ? high : low
        let digit = UInt8(half >> UInt64(60 - 4 * (index % 16)) & 15)
        buffer[at] = digit < 10 ? 48 + digit : 87 + digit
        at += 1
      }
      return 36
    }
  }
}

/// Content transfer encodings (RFC 2045 section 6) and their like in encoded words, decoded as far as they can be.
enum TransferCoding {
  /// Decodes base64 up to its padding; bytes outside the alphabet are passed over (RFC 2045 section 6.8).
  static func base64(_ text: some Collection<UInt8>) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(text.count / 4 * 3)
    var bits: UInt32 = 0
    var count = 0
    for byte in text {
      let value: UInt8
      switch byte {
      case 65...90: value = byte - 65
      case 97...122: value = byte - 71
      case 48...57: value = byte + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "="): return output
      default: continue
      }
      bits = bits << 6 & 0xFF_FFFF | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        output.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return output
  }

  /// Decodes quoted-printable (section 6.7). In headers `_` is a space (RFC 2047 section 4.2) and there are no soft line
  /// breaks.
  static func quotedPrintable(_ text: some Collection<UInt8>, inHeader: Bool) -> [UInt8] {
    let text = Array(text)
    var output: [UInt8] = []
    output.reserveCapacity(text.count)
    var at = 0
    while at < text.count {
      let byte = text[at]
      at += 1
      if inHeader, byte == UInt8(ascii: "_") {
        output.append(32)
      } else if byte != UInt8(ascii: "=") {
        output.append(byte)
      } else if at + 1 < text.count, let high = digit(text[at]), let low = digit(text[at + 1]) {
        output.append(high << 4 | low)
        at += 2
      } else if !inHeader, at < text.count, text[at] == 10 {
        at += 1
      } else if !inHeader, at + 1 < text.count, text[at] == 13, text[at + 1] == 10 {
        at += 2
      } else {
        output.append(byte)
      }
    }
    return output
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }
}

import Glibc

/// A charset of MIME, and its text as Unicode.
enum Charset: Equatable {
  /// US-ASCII, and whatever else stands where only that may: UTF-8 if it is that, else Windows-1252.
  case ascii
  case utf8
  /// Windows-1252, which is also meant by ISO-8859-1 wherever bytes from 128 on occur (WHATWG Encoding, section 4.2).
  case windows1252
  /// Any other, by its name in iconv.
  case other(String)

  /// The charset of that name, in any case; nil: nobody knows it.
  init?(_ name: String) {
    guard name.utf8.count <= 40 else { return nil }
    switch name.lowercased() {
    case "us-ascii", "ascii", "ansi_x3.4-1968": self = .ascii
    case "utf-8", "utf8", "unicode-1-1-utf-8": self = .utf8
    case let label:
      guard let known = CharsetNames.known[label] else { return nil }
      self = known == "CP1252" ? .windows1252 : .other(known)
    }
  }

  /// The text; what is not of this charset becomes U+FFFD. At most four times as many bytes as there were, and a few.
  func text(_ bytes: some Collection<UInt8>) -> String {
    bytes.withContiguousStorageIfAvailable { text(UnsafeRawBufferPointer($0)) }
      ?? Array(bytes).withUnsafeBytes { text($0) }
  }

  private func text(_ bytes: UnsafeRawBufferPointer) -> String {
    switch self {
    case .ascii: String(validating: bytes, as: UTF8.self) ?? Self.windows1252Text(bytes)
    case .utf8: String(decoding: bytes, as: UTF8.self)
    case .windows1252: Self.windows1252Text(bytes)
    case .other(let name): Converter.text(bytes, from: name)
    }
  }

  private static func windows1252Text(_ bytes: UnsafeRawBufferPointer) -> String {
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count + bytes.count / 8)
    for byte in bytes {
      if byte < 128 {
        output.append(byte)
      } else {
        let scalar = byte < 160 ? windows1252Upper[Int(byte) - 128] : Unicode.Scalar(byte)
        output.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
      }
    }
    return String(decoding: output, as: UTF8.self)
  }

  /// What Windows-1252 has from 128 to 159.
  static let windows1252Upper: [Unicode.Scalar] = [
    "\u{20AC}", "\u{81}", "\u{201A}", "\u{192}", "\u{201E}", "\u{2026}", "\u{2020}", "\u{2021}", "\u{2C6}", "\u{2030}",
    "\u{160}", "\u{2039}", "\u{152}", "\u{8D}", "\u{17D}", "\u{8F}", "\u{90}", "\u{2018}", "\u{2019}", "\u{201C}",
    "\u{201D}", "\u{2022}", "\u{2013}", "\u{2014}", "\u{2DC}", "\u{2122}", "\u{161}", "\u{203A}", "\u{153}", "\u{9D}",
    "\u{17E}", "\u{178}",
  ]
}

/// Conversions of iconv to UTF-8.
private enum Converter {
  /// Bytes that cannot be converted become U+FFFD, one by one.
  static func text(_ bytes: UnsafeRawBufferPointer, from name: String) -> String {
    guard let handle = iconv_open("UTF-8", name), Int(bitPattern: handle) != -1 else {
      // A system without that module: what is ASCII can be read.
      return Charset.ascii.text(bytes)
    }
    defer { iconv_close(handle) }
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count * 2)
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { chunk in
      // iconv does not write to its input; its type is from before `const`.
      var at = UnsafeMutablePointer(mutating: bytes.assumingMemoryBound(to: CChar.self).baseAddress)
      var left = bytes.count
      while left > 0 {
        switch convert(handle, &at, &left, chunk, &output) {
        case 0: left = 0
        case E2BIG: continue
        case EILSEQ:
          output += UTF8.encodedReplacementCharacter
          at = at?.successor()
          left -= 1
        default:
          // Half a character at the end.
          output += UTF8.encodedReplacementCharacter
          left = 0
        }
      }
      // Some keep back a letter to which an accent may belong.
      at = nil
      _ = convert(handle, &at, &left, chunk, &output)
    }
    return String(decoding: output, as: UTF8.self)
  }

  /// Fills one chunk; the error number, 0: all was read. Without progress, it is none of those that go on.
  private static func convert(
    _ handle: iconv_t, _ at: inout UnsafeMutablePointer<CChar>?, _ left: inout Int,
    _ chunk: UnsafeMutableRawBufferPointer, _ output: inout [UInt8]
  ) -> Int32 {
    let before = left
    var to = chunk.baseAddress?.assumingMemoryBound(to: CChar.self)
    var room = chunk.count
    let result = iconv(handle, &at, &left, &to, &room)
    let code = result == -1 ? errno : 0
    output.append(contentsOf: UnsafeRawBufferPointer(rebasing: chunk.prefix(chunk.count - room)))
    return code == E2BIG && left == before && room == chunk.count ? EINVAL : code
  }
}

import Glibc

/// A charset of MIME, and its text as Unicode.
enum Charset: Equatable {
  case utf8
  /// Windows-1252, which is also meant by ISO-8859-1 and US-ASCII wherever bytes from 128 on occur (WHATWG Encoding,
  /// section 4.2).
  case windows1252
  /// Any other that iconv knows, by its name there.
  case other(String)

  /// The charset of that name, in any case; nil: the system does not know it.
  init?(_ name: String) {
    let name = name.lowercased()
    switch name {
    case "", "utf-8", "utf8": self = .utf8
    case "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "windows-1252", "cp1252":
      self = .windows1252
    default:
      // Only what a name may be made of: iconv takes more than names (`//IGNORE`, paths of modules).
      guard name.utf8.count <= 40,
        name.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0) || "-_:.".utf8.contains($0) })
      else { return nil }
      // Korean mail says this, and means its superset.
      let known = name == "ks_c_5601-1987" || name == "euc-kr" ? "cp949" : name == "gb2312" ? "gb18030" : name
      guard let converter = Converter(known) else { return nil }
      converter.close()
      self = .other(known)
    }
  }

  /// The text; what is not of this charset becomes U+FFFD.
  func text(_ bytes: [UInt8]) -> String {
    switch self {
    case .utf8: return String(decoding: bytes, as: UTF8.self)
    case .windows1252:
      var scalars = String.UnicodeScalarView()
      for byte in bytes {
        if (128...159).contains(byte) {
          scalars.append(Self.upper[Int(byte) - 128])
        } else {
          scalars.append(Unicode.Scalar(byte))
        }
      }
      return String(scalars)
    case .other(let name):
      guard let converter = Converter(name) else { return "" }
      defer { converter.close() }
      return String(decoding: converter.convert(bytes), as: UTF8.self)
    }
  }

  /// What Windows-1252 has from 128 to 159.
  private static let upper: [Unicode.Scalar] = [
    "\u{20AC}", "\u{81}", "\u{201A}", "\u{192}", "\u{201E}", "\u{2026}", "\u{2020}", "\u{2021}", "\u{2C6}", "\u{2030}",
    "\u{160}", "\u{2039}", "\u{152}", "\u{8D}", "\u{17D}", "\u{8F}", "\u{90}", "\u{2018}", "\u{2019}", "\u{201C}",
    "\u{201D}", "\u{2022}", "\u{2013}", "\u{2014}", "\u{2DC}", "\u{2122}", "\u{161}", "\u{203A}", "\u{153}", "\u{9D}",
    "\u{17E}", "\u{178}",
  ]
}

/// A conversion of iconv to UTF-8. Has to be closed.
private struct Converter {
  private let handle: iconv_t

  init?(_ name: String) {
    guard let opened = iconv_open("UTF-8", name), Int(bitPattern: opened) != -1 else { return nil }
    handle = opened
  }

  func close() { iconv_close(handle) }

  /// Bytes that cannot be converted become U+FFFD, one by one; a half character at the end is dropped.
  func convert(_ bytes: [UInt8]) -> [UInt8] {
    var input = bytes.map { CChar(bitPattern: $0) }
    var chunk = [CChar](repeating: 0, count: 4096)
    var output: [UInt8] = []
    input.withUnsafeMutableBufferPointer { input in
      var at = input.baseAddress
      var left = input.count
      while left > 0 {
        let failure = chunk.withUnsafeMutableBufferPointer { chunk -> Int32 in
          var to = chunk.baseAddress
          var room = chunk.count
          let result = iconv(handle, &at, &left, &to, &room)
          let code = result == -1 ? errno : 0
          output.append(contentsOf: chunk.prefix(chunk.count - room).map { UInt8(bitPattern: $0) })
          return code
        }
        switch failure {
        case 0, E2BIG: continue
        case EILSEQ:
          output.append(contentsOf: [0xEF, 0xBF, 0xBD])
          at = at?.successor()
          left -= 1
        default: return
        }
      }
    }
    return output
  }
}

/// What a server answers to one command (RFC 5321 section 4.2): a code, an enhanced status code (RFC 3463) and text.
///
/// The text may have several lines and come from anywhere: what is not printable ASCII is sent as `?`, and a line is cut
/// where it would be longer than 512 octets.
public struct SMTPReply: Sendable, Hashable {
  /// 200 to 599.
  public let code: Int
  /// Such as `5.1.1`; nil for the replies that have none (greeting, EHLO, 354).
  public let status: String?
  /// For people; at least one line.
  public let lines: [String]

  /// A reply. `text` is split into lines at line feeds; a code outside of 200 to 599 becomes 451.
  public init(_ code: Int, _ status: String?, _ text: String) {
    // By bytes: CR LF is one Character, which no split at "\n" would see.
    let lines = text.utf8.split(separator: 10, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    self.init(code, status, lines: lines)
  }

  init(_ code: Int, _ status: String?, lines: [String]) {
    self.code = (200...599).contains(code) ? code : 451
    self.status = status
    self.lines = lines.isEmpty ? [""] : lines
  }

  /// Whether the client is told that something went wrong (400 and above).
  public var isError: Bool { code >= 400 }

  /// Adds the reply as it goes over the wire: every line but the last with a hyphen behind the code.
  public func encode(into output: inout [UInt8]) {
    for (index, line) in lines.enumerated() {
      let start = output.count
      output.append(contentsOf: String(code).utf8)
      output.append(UInt8(ascii: index == lines.count - 1 ? " " : "-"))
      if let status {
        output.append(contentsOf: status.utf8.map(Self.printable))
        output.append(UInt8(ascii: " "))
      }
      let room = max(0, Self.maximumLineLength - 2 - (output.count - start))
      output.append(contentsOf: line.utf8.lazy.filter { $0 != 13 }.prefix(room).map(Self.printable))
      output.append(13)
      output.append(10)
    }
  }

  /// Octets of a reply line with its line end (RFC 5321 section 4.5.3.1.5).
  static let maximumLineLength = 512

  private static func printable(_ byte: UInt8) -> UInt8 { (32...126).contains(byte) ? byte : UInt8(ascii: "?") }
}

extension SMTPReply: CustomStringConvertible {
  /// As it goes over the wire, without the last line end.
  public var description: String {
    var bytes: [UInt8] = []
    encode(into: &bytes)
    return String(decoding: bytes.dropLast(2), as: UTF8.self)
  }
}

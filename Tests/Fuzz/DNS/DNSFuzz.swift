import FuzzKit
import Network

/// Rules of the parser of DNS messages: neither more nor less than a message is one, names are within their limits, and
/// what was understood is the same without compression.
public enum DNSFuzz {
  /// The first rule that does not hold.
  public static func brokenRule(_ bytes: [UInt8]) -> String? {
    guard let message = try? DNSMessage(parsing: bytes) else { return nil }
    if (try? DNSMessage(parsing: bytes + [0])) != nil { return "a byte behind the end" }
    if (try? DNSMessage(parsing: Array(bytes.dropLast()))) != nil { return "a byte missing" }
    for name in [message.name] + (message.answers + message.authorities).map(\.name) {
      if wire(name).count > 255 || name.labels.contains(where: { !(1...63).contains($0.count) }) { return "limits" }
      if DNSName(labels: name.labels) != name { return "labels of a name" }
      // What can be written as text can be read.
      let text = name.description
      if !text.contains("\\"), DNSName(text) != name { return "text of a name" }
    }
    if (try? DNSMessage(parsing: plain(message))) != message { return "written and read again" }
    return nil
  }

  private static func plain(_ message: DNSMessage) -> [UInt8] {
    let flags = 0x8000 | (message.isTruncated ? 0x200 : 0) | message.responseCode & 15
    // The rest of the response code is in an OPT record.
    let opt = [0] + number(41) + number(512) + [UInt8(message.responseCode >> 4), 0, 0, 0] + number(0)
    return number(0) + number(flags) + number(1) + number(message.answers.count)
      + number(message.authorities.count) + number(1) + wire(message.name) + number(Int(message.type)) + number(1)
      + (message.answers + message.authorities).flatMap(plain) + opt
  }

  private static func plain(_ record: DNSRecord) -> [UInt8] {
    let (type, data): (Int, [UInt8]) =
      switch record.data {
      case .a(let address): (1, address.bytes)
      // One that holds an IPv4 address is written as it was.
      case .aaaa(let address):
        (28, (address.isIPv6 ? [] : [UInt8](repeating: 0, count: 10) + [255, 255]) + address.bytes)
      case .cname(let name): (5, wire(name))
      case .ptr(let name): (12, wire(name))
      case .mx(let mx): (15, number(Int(mx.preference)) + wire(mx.exchange))
      case .txt(let text): (16, text.strings.flatMap { [UInt8($0.count)] + $0 })
      case .tlsa(let tlsa): (52, [tlsa.usage, tlsa.selector, tlsa.matching] + tlsa.association)
      case .soa(let seconds): (6, [0, 0] + [UInt8](repeating: 0, count: 16) + number(seconds >> 16) + number(seconds))
      case .other(let type): (Int(type), [])
      }
    return wire(record.name) + number(type) + number(1) + number(record.ttl >> 16) + number(record.ttl)
      + number(data.count) + data
  }

  private static func wire(_ name: DNSName) -> [UInt8] { name.labels.flatMap { [UInt8($0.count)] + $0 } + [0] }

  private static func number(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 255), UInt8(value & 255)] }
}

#if FUZZING
  /// What libFuzzer calls with each input.
  @_cdecl("LLVMFuzzerTestOneInput")
  public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    tryInput(start, count, DNSFuzz.brokenRule)
  }
#endif

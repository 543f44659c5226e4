@testable import Network

/// DNS messages by hand.
enum DNSBytes {
  static func number(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 255), UInt8(value & 255)] }

  /// A name without compression.
  static func name(_ text: String) -> [UInt8] {
    text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + $0.utf8 } + [0]
  }

  /// A pointer; the question's name is at 12.
  static func pointer(_ place: Int) -> [UInt8] { [0xc0 | UInt8(place >> 8), UInt8(place & 255)] }

  static func record(
    _ name: [UInt8], _ type: Int, _ data: [UInt8], ttl: [UInt8] = [0, 0, 0, 60], class: Int = 1
  ) -> [UInt8] {
    name + number(type) + number(`class`) + ttl + number(data.count) + data
  }

  /// An answer about `example.net`, unless it is told otherwise.
  static func message(
    _ type: Int, _ answers: [[UInt8]], authorities: [[UInt8]] = [], additional: [[UInt8]] = [], code: Int = 0,
    flags: Int = 0x8180, question: [UInt8] = name("example.net"), counts: [Int]? = nil
  ) -> [UInt8] {
    let counts = counts ?? [1, answers.count, authorities.count, additional.count]
    return number(7) + number(flags | code) + counts.flatMap(number) + question + number(type) + number(1)
      + (answers + authorities + additional).joined()
  }

  /// 28 bytes of SOA behind a pointer to the question's name: negative answers may be kept for `minimum` seconds.
  static func soa(minimum: Int, ttl: [UInt8] = [0, 0, 0, 60]) -> [UInt8] {
    record(
      pointer(12), 6, pointer(12) + pointer(12) + [UInt8](repeating: 0, count: 18) + number(minimum), ttl: ttl)
  }

  /// Answers of every kind, to be damaged.
  static let examples: [[UInt8]] = [
    message(1, [record(pointer(12), 1, [192, 0, 2, 1]), record(pointer(12), 1, [192, 0, 2, 2])]),
    message(28, [record(pointer(12), 28, [UInt8](repeating: 9, count: 16))], additional: [record([0], 41, [])]),
    message(
      15,
      [
        record(pointer(12), 15, number(20) + name("mx2") + []),
        record(pointer(12), 15, number(10) + [2, 109, 120] + pointer(12)),
      ]),
    message(16, [record(pointer(12), 16, [3, 97, 98, 99, 0, 1, 100])]),
    message(
      1, [record(pointer(12), 5, name("a.example")), record(name("a.example"), 1, [192, 0, 2, 1])],
      authorities: [record(pointer(12), 2, name("ns")), soa(minimum: 30)]),
    message(52, [record(pointer(12), 52, [3, 1, 1] + [UInt8](repeating: 7, count: 32))]),
    message(12, [record(pointer(12), 12, name("host.example"))]),
    message(15, [], authorities: [soa(minimum: 30)], additional: [record([0], 41, [], class: 1232)], code: 3),
  ]
}

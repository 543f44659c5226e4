/// Reads the parts of a DNS message from its bytes. Nothing in them is believed: every read is within the message, and
/// a name takes at most 128 steps.
struct DNSReader {
  let bytes: [UInt8]
  private(set) var position = 0
  private let end: Int

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    end = bytes.count
  }

  private init(_ bytes: [UInt8], from start: Int, to end: Int) {
    self.bytes = bytes
    position = start
    self.end = end
  }

  var isAtEnd: Bool { position == end }

  /// A reader of the next `count` bytes, whose names may still point to what is before them.
  mutating func part(_ count: Int) throws(DNSMessage.Malformed) -> DNSReader {
    guard count <= end - position else { throw .cutShort }
    defer { position += count }
    return DNSReader(bytes, from: position, to: position + count)
  }

  mutating func byte() throws(DNSMessage.Malformed) -> UInt8 {
    guard position < end else { throw .cutShort }
    defer { position += 1 }
    return bytes[position]
  }

  mutating func number16() throws(DNSMessage.Malformed) -> UInt16 {
    UInt16(try byte()) << 8 | UInt16(try byte())
  }

  mutating func number32() throws(DNSMessage.Malformed) -> UInt32 {
    UInt32(try number16()) << 16 | UInt32(try number16())
  }

  /// The next `count` bytes; all that are left without it.
  mutating func array(_ count: Int? = nil) throws(DNSMessage.Malformed) -> [UInt8] {
    let count = count ?? end - position
    guard count <= end - position else { throw .cutShort }
    defer { position += count }
    return Array(bytes[position..<position + count])
  }

  /// A name, which may be compressed (RFC 1035 section 4.1.4): each pointer leads to before the labels that it ends.
  mutating func name() throws(DNSMessage.Malformed) -> DNSName {
    var wire: [UInt8] = []
    var place = position
    var placeEnd = end
    var start = position  // of the labels that are read
    var pointers = 0
    var hasJumped = false
    while true {
      guard place < placeEnd else { throw .cutShort }
      let length = Int(bytes[place])
      switch length >> 6 {
      case 0:
        let next = place + 1 + length
        guard next <= placeEnd else { throw .cutShort }
        guard wire.count + 1 + length + (length == 0 ? 0 : 1) <= DNSName.limit else { throw .nameTooLong }
        wire.append(UInt8(length))
        wire += bytes[place + 1..<next].lazy.map(DNSName.lowercased)
        place = next
        if length == 0 {
          if !hasJumped { position = place }
          return DNSName(lowercased: wire)
        }
      case 3:
        guard place + 1 < placeEnd else { throw .cutShort }
        let target = (length & 0x3f) << 8 | Int(bytes[place + 1])
        pointers += 1
        // Not into the header, not forward and not to itself: so there is no loop. And no name needs that many.
        guard target >= DNSMessage.headerSize, target < start, pointers <= 127 else { throw .badPointer }
        if !hasJumped { position = place + 2 }
        hasJumped = true
        (place, start, placeEnd) = (target, target, bytes.count)
      default: throw .badLabel
      }
    }
  }
}

/// A running sum that notices damage: any change within one 8-byte word is found for certain, anything else with a
/// chance of 1 in 4 billion of being missed.
///
/// FNV-1a over words instead of bytes, with a fold so that high bits reach low ones: a few hundred bytes cost less than
/// a row of SQLite by two orders of magnitude.
struct Checksum {
  private var hash: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ word: UInt64) {
    hash = (hash ^ word) &* 0x0000_0100_0000_01B3
    hash ^= hash >> 29
  }

  mutating func add(_ number: Int64) { add(UInt64(bitPattern: number)) }

  /// Adds the length and the bytes.
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    add(UInt64(bytes.count))
    var at = 0
    while at + 8 <= bytes.count {
      add(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)))
      at += 8
    }
    var rest: UInt64 = 0
    while at < bytes.count {
      rest = rest << 8 | UInt64(bytes[at])
      at += 1
    }
    add(rest)
  }

  /// 32 bits, signed, as SQLite keeps them in four bytes.
  var value: Int64 { Int64(Int32(truncatingIfNeeded: hash ^ hash >> 32)) }
}

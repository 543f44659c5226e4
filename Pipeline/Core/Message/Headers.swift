import Glibc

/// The headers of a record: names and values in order, kept in one flat run of bytes.
///
/// A hop reads two or three of a dozen headers and replaces as many; the rest passes through untouched. So nothing is
/// decoded until asked for, and handing them on is one copy of a few hundred bytes.
///
/// Layout, per header: name length (2 bytes, big-endian), value length (4 bytes, big-endian), name, value.
public struct Headers: Sendable, Hashable {
  /// The flat form, as a broker stores it.
  public private(set) var encoded: [UInt8]

  /// The most bytes of all headers of one record: beyond it `set` refuses.
  public static let maximumSize = 512 * 1024

  /// No headers.
  public init() { encoded = [] }

  /// Takes the flat form as it was stored.
  ///
  /// - Throws: `HeadersError.malformed` if the lengths do not add up.
  public init(encoded bytes: some Collection<UInt8>) throws(HeadersError) {
    encoded = Array(bytes)
    var at = 0
    while at < encoded.count {
      guard let next = Self.entry(in: encoded, at: at)?.end else { throw .malformed }
      at = next
    }
  }

  /// Whether there is none.
  public var isEmpty: Bool { encoded.isEmpty }

  /// The text of the last header of that name; names are compared byte by byte.
  public subscript(name: String) -> String? {
    get { range(of: name).map { String(decoding: encoded[$0], as: UTF8.self) } }
    set {
      if let newValue { set(name, newValue.utf8) } else { remove(name) }
    }
  }

  /// The bytes of the last header of that name.
  public func bytes(_ name: String) -> ArraySlice<UInt8>? { range(of: name).map { encoded[$0] } }

  /// The header as a whole number; nil if absent or not one.
  public func int(_ name: String) -> Int? {
    guard let digits = bytes(name), !digits.isEmpty, digits.count <= 19 else { return nil }
    var value = 0
    var negative = false
    for (index, byte) in digits.enumerated() {
      if index == 0, byte == UInt8(ascii: "-") {
        negative = true
        continue
      }
      guard byte >= 48, byte <= 57 else { return nil }
      let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = scaled.addingReportingOverflow(Int(byte - 48))
      guard !overflow, !carry else { return nil }
      value = sum
    }
    return negative ? -value : value
  }

  /// Adds a header, or replaces the one of that name (at the end).
  public mutating func set(_ name: String, _ value: some Collection<UInt8>) {
    remove(name)
    append(name, value)
  }

  /// Adds a header behind the others, without looking for one of the same name.
  public mutating func append(_ name: String, _ value: some Collection<UInt8>) {
    let nameCount = min(name.utf8.count, Int(UInt16.max))
    let valueCount = min(value.count, Self.maximumSize)
    encoded.append(UInt8(truncatingIfNeeded: nameCount >> 8))
    encoded.append(UInt8(truncatingIfNeeded: nameCount))
    for shift in [24, 16, 8, 0] { encoded.append(UInt8(truncatingIfNeeded: valueCount >> shift)) }
    encoded.append(contentsOf: name.utf8.prefix(nameCount))
    encoded.append(contentsOf: value.prefix(valueCount))
  }

  /// Adds a header behind the others, from memory that a broker holds.
  public mutating func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    let (nameCount, valueCount) = (min(name.count, Int(UInt16.max)), min(value.count, Self.maximumSize))
    if encoded.isEmpty { encoded.reserveCapacity(512) }
    withUnsafeTemporaryAllocation(byteCount: 6, alignment: 1) { prefix in
      prefix[0] = UInt8(truncatingIfNeeded: nameCount >> 8)
      prefix[1] = UInt8(truncatingIfNeeded: nameCount)
      for index in 2..<6 { prefix[index] = UInt8(truncatingIfNeeded: valueCount >> (8 * (5 - index))) }
      encoded.append(contentsOf: UnsafeRawBufferPointer(prefix))
    }
    encoded.append(contentsOf: UnsafeRawBufferPointer(rebasing: name[..<nameCount]))
    encoded.append(contentsOf: UnsafeRawBufferPointer(rebasing: value[..<valueCount]))
  }

  /// Removes every header of that name.
  public mutating func remove(_ name: String) {
    var found: [Range<Int>] = []
    Self.scan(encoded, for: name) { entry in found.append(entry.name.lowerBound..<entry.end) }
    for range in found.reversed() { encoded.removeSubrange(range) }
  }

  /// Makes room, so that what a hop adds does not move the bytes again.
  mutating func reserve(_ more: Int) { encoded.reserveCapacity(encoded.count + more) }

  /// Whether both are the same run of bytes in memory: then they are equal. False says nothing.
  func isIdentical(to other: Headers) -> Bool {
    encoded.withUnsafeBytes { own in
      other.encoded.withUnsafeBytes { own.baseAddress == $0.baseAddress && own.count == $0.count }
    }
  }

  /// Hands out the bytes of the last header of that name where they are; no bytes if there is none.
  func withBytes<R>(_ name: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let range = range(of: name)
    return encoded.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[range ?? 0..<0])) }
  }

  /// Adds to the value of a header, which is made if it is not there, and moves behind the others.
  ///
  /// - Parameter write: appends to the bytes, and nothing else; is told whether the value is empty so far.
  mutating func extend(_ name: String, _ write: (inout [UInt8], _ isEmpty: Bool) -> Void) {
    var value = 0
    var found: Entry?
    Self.scan(encoded, for: name) { found = $0 }
    if let found {
      value = found.value.count
      moveToEnd(found.name.lowerBound..<found.end)
    } else {
      append(name, EmptyCollection())
    }
    let start = encoded.count - value
    write(&encoded, value == 0)
    if encoded.count - start > Self.maximumSize { encoded.removeLast(encoded.count - start - Self.maximumSize) }
    let size = encoded.count - start
    let lengthAt = start - min(name.utf8.count, Int(UInt16.max)) - 4
    for index in 0..<4 { encoded[lengthAt + index] = UInt8(truncatingIfNeeded: size >> (24 - 8 * index)) }
  }

  /// In place: what lies behind moves forward.
  private mutating func moveToEnd(_ range: Range<Int>) {
    guard range.upperBound < encoded.count else { return }
    encoded.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      let behind = bytes.count - range.upperBound
      withUnsafeTemporaryAllocation(byteCount: range.count, alignment: 1) { copy in
        guard let kept = copy.baseAddress else { return }
        memcpy(kept, base + range.lowerBound, range.count)
        memmove(base + range.lowerBound, base + range.upperBound, behind)
        memcpy(base + range.lowerBound + behind, kept, range.count)
      }
    }
  }

  /// Every header in order.
  public var all: [(name: String, value: ArraySlice<UInt8>)] {
    var result: [(name: String, value: ArraySlice<UInt8>)] = []
    var at = 0
    while let entry = Self.entry(in: encoded, at: at) {
      result.append((String(decoding: encoded[entry.name], as: UTF8.self), encoded[entry.value]))
      at = entry.end
    }
    return result
  }

  /// Every header in order, without making strings of the names; both parts are valid inside `body` only.
  public func forEach(_ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void) {
    encoded.withUnsafeBytes { bytes in
      var at = 0
      while let entry = Self.entry(in: encoded, at: at) {
        body(UnsafeRawBufferPointer(rebasing: bytes[entry.name]), UnsafeRawBufferPointer(rebasing: bytes[entry.value]))
        at = entry.end
      }
    }
  }

  private typealias Entry = (name: Range<Int>, value: Range<Int>, end: Int)

  private static func entry(in bytes: [UInt8], at start: Int) -> Entry? {
    guard start + 6 <= bytes.count else { return nil }
    let nameCount = Int(bytes[start]) << 8 | Int(bytes[start + 1])
    var valueCount = 0
    for index in 2..<6 { valueCount = valueCount << 8 | Int(bytes[start + index]) }
    let name = start + 6
    let value = name + nameCount
    let end = value + valueCount
    guard end <= bytes.count else { return nil }
    return (name..<value, value..<end, end)
  }

  private func range(of name: String) -> Range<Int>? {
    var found: Range<Int>?
    Self.scan(encoded, for: name) { entry in found = entry.value }
    return found
  }

  /// Calls `body` for each header of that name. One pass over the bytes: every hop does this a dozen times.
  private static func scan(_ encoded: [UInt8], for name: String, _ body: (Entry) -> Void) {
    var name = name
    name.withUTF8 { name in
      encoded.withUnsafeBufferPointer { bytes in
        guard let base = bytes.baseAddress, let wanted = name.baseAddress else { return }
        var at = 0
        while at + 6 <= bytes.count {
          let nameCount = Int(base[at]) << 8 | Int(base[at + 1])
          let valueCount =
            Int(base[at + 2]) << 24 | Int(base[at + 3]) << 16 | Int(base[at + 4]) << 8 | Int(base[at + 5])
          let value = at + 6 + nameCount
          guard value + valueCount <= bytes.count else { return }
          if nameCount == name.count, memcmp(base + at + 6, wanted, nameCount) == 0 {
            body((at..<at + 6, value..<value + valueCount, value + valueCount))
          }
          at = value + valueCount
        }
      }
    }
  }
}

/// Why headers could not be read.
public enum HeadersError: Error, Sendable {
  /// The lengths inside do not add up: the bytes were damaged.
  case malformed
}

import Glibc

extension UnsafeRawBufferPointer {
  /// The first `byte` in `start..<end`; nil: there is none. As fast as memory is read.
  func index(of byte: UInt8, from start: Int, to end: Int) -> Int? {
    guard let baseAddress, start >= 0, start < end, end <= count,
      let found = memchr(baseAddress + start, Int32(byte), end - start)
    else { return nil }
    return baseAddress.distance(to: UnsafeRawPointer(found))
  }
}

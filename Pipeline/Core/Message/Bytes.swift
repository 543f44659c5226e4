#if canImport(Glibc)
  import Glibc
#endif

/// A run of bytes that never changes, kept alive by whoever made it.
///
/// A record's key, headers and value are slices of one batch: handing them on costs a reference count and no copy.
public struct Bytes: @unchecked Sendable {
  // Safe to share: the memory is written before the value exists and never after, and `owner` outlives it.
  private let start: UnsafeRawPointer?
  /// Number of bytes.
  public let count: Int
  private let owner: AnyObject?

  /// No bytes at all.
  public static let empty = Bytes(start: nil, count: 0, owner: nil)

  /// A view on memory that `owner` keeps alive and nobody writes any more.
  public init(unowned bytes: UnsafeRawBufferPointer, keeping owner: AnyObject) {
    self.init(start: bytes.baseAddress, count: bytes.count, owner: owner)
  }

  /// A copy of `bytes`.
  public init(_ bytes: some Collection<UInt8>) {
    guard !bytes.isEmpty else {
      self = .empty
      return
    }
    let count = bytes.count
    let storage = Storage.create(minimumCapacity: count) { _ in () }
    start = storage.withUnsafeMutablePointerToElements { elements in
      let buffer = UnsafeMutableBufferPointer(start: elements, count: count)
      _ = buffer.initialize(from: bytes)
      return UnsafeRawPointer(elements)
    }
    self.count = count
    owner = storage
  }

  /// What `body` writes into memory for at most `capacity` bytes; it returns how many there are.
  public init<E: Error>(capacity: Int, _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Int) throws(E) {
    let capacity = Swift.max(0, capacity)
    let storage = Storage.create(minimumCapacity: capacity) { _ in () }
    let elements = storage.withUnsafeMutablePointerToElements { UnsafeMutableRawPointer($0) }
    let written = try body(UnsafeMutableRawBufferPointer(start: elements, count: capacity))
    self.init(start: UnsafeRawPointer(elements), count: Swift.max(0, Swift.min(written, capacity)), owner: storage)
  }

  /// A copy of the UTF-8 bytes of `text`.
  public init(_ text: String) { self.init(text.utf8) }

  private init(start: UnsafeRawPointer?, count: Int, owner: AnyObject?) {
    self.start = start
    self.count = count
    self.owner = owner
  }

  private final class Storage: ManagedBuffer<Void, UInt8> {}

  /// The bytes, valid only inside `body`.
  public func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    defer { withExtendedLifetime(owner) {} }
    return try body(UnsafeRawBufferPointer(start: start, count: count))
  }

  /// The bytes as text; what is not UTF-8 becomes U+FFFD.
  public var text: String { withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
}

extension Bytes: RandomAccessCollection {
  /// Always 0.
  public var startIndex: Int { 0 }
  /// Equal to `count`.
  public var endIndex: Int { count }
  /// One byte. `position` must be below `count`.
  public subscript(position: Int) -> UInt8 { withUnsafeBytes { $0[position] } }
  /// A part of the bytes, without a copy. `bounds` must lie within `0..<count`.
  public subscript(bounds: Range<Int>) -> Bytes {
    guard let start, bounds.lowerBound >= 0, bounds.upperBound <= count, !bounds.isEmpty else { return .empty }
    return Bytes(start: start + bounds.lowerBound, count: bounds.count, owner: owner)
  }
  /// Hands the bytes to fast paths of the standard library.
  public func withContiguousStorageIfAvailable<R>(_ body: (UnsafeBufferPointer<UInt8>) throws -> R) rethrows -> R? {
    try withUnsafeBytes { try $0.withMemoryRebound(to: UInt8.self) { try body($0) } }
  }
}

extension Bytes: Hashable {
  /// Equal content, whoever owns it.
  public static func == (left: Bytes, right: Bytes) -> Bool {
    left.count == right.count
      && left.withUnsafeBytes { l in
        right.withUnsafeBytes { r in
          guard let a = l.baseAddress, let b = r.baseAddress else { return true }
          return memcmp(a, b, l.count) == 0
        }
      }
  }
  /// Hashes the content.
  public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }
}

extension Bytes: CustomStringConvertible {
  /// The text when short, otherwise only the size.
  public var description: String { count <= 64 ? text : "\(count) bytes" }
}

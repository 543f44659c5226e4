/// A rule that must hold of whatever bytes come: says which one does not, or nil.
public typealias FuzzRule = @Sendable ([UInt8]) -> String?

/// Cuts bytes into pieces, for readers that must not care how what they read was cut. The same bytes are cut the same way.
public struct Pieces: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>
  private var state: UInt64

  /// Cuts all of `bytes`, another way for each `seed`.
  public init(_ bytes: [UInt8], seed: UInt64 = 0) {
    rest = bytes[...]
    state = bytes.prefix(64).reduce(0xCBF2_9CE4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 } | 1
  }

  /// The next piece, at least one byte.
  public mutating func next() -> ArraySlice<UInt8>? {
    guard !rest.isEmpty else { return nil }
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    // Mostly short ones: what is cut goes wrong at its edges.
    let count = state & 0xF00 == 0 ? 1 + Int(state >> 56) : 1 + Int(state >> 61)
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}

#if FUZZING
  import Glibc

  /// Tries one input of libFuzzer's; a broken rule is a trap, which makes it keep the input.
  public func tryInput(_ start: UnsafePointer<UInt8>?, _ count: Int, _ rule: FuzzRule) -> CInt {
    if let broken = rule(Array(UnsafeBufferPointer(start: start, count: count))) {
      let line = "broken rule: \(broken)\n"
      _ = write(STDERR_FILENO, line, line.utf8.count)
      abort()
    }
    return 0
  }
#endif

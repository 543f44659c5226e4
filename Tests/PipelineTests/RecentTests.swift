import Pipeline
import Testing

/// What is kept of what was made, and what is not.
@Suite struct RecentTests {
  private func bytes(_ number: Int, count: Int = 1000) -> Bytes {
    Bytes([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: count))
  }

  private func digest(_ number: Int) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }

  @Test func keepsWhatIsAskedForWithinItsLimit() {
    var recent = Recent<[UInt8], Bytes>(limit: 24_000)  // ten in each half
    recent.keep(bytes(0), digest(0), count: 1000)
    for number in 1..<200 {
      recent.keep(bytes(number), digest(number), count: 1000)
      #expect(recent.find(digest(0)) == bytes(0), "\(number)")
      #expect(recent.find(digest(number)) == bytes(number))
    }
    let kept = (0..<200).filter { recent.find(digest($0)) != nil }
    #expect(kept.count <= 21 && kept.contains(0) && kept.contains(199) && !kept.contains(100))
  }

  @Test func whatIsTooLargeIsNotKept() {
    var recent = Recent<[UInt8], Bytes>(limit: 24_000)
    recent.keep(bytes(1, count: 12_000), digest(1), count: 12_000)
    #expect(recent.find(digest(1)) == nil)
    // Nor is what it replaces.
    recent.keep(bytes(2), digest(2), count: 1000)
    recent.keep(bytes(2, count: 12_000), digest(2), count: 12_000)
    #expect(recent.find(digest(2)) == nil)
  }
}

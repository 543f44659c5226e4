import Foundation
import FuzzKit
import SMTPFuzz
import Testing

/// What libFuzzer would do, a little of it and from a seed: the corpus with bytes changed, left out, doubled and swapped.
@Suite struct MutationTests {
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  @Test func smtp() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Fuzz/SMTP/corpus")
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .sorted { $0.path < $1.path }.map { [UInt8](try Data(contentsOf: $0)) }
    let rounds = ProcessInfo.processInfo.environment["TORTURE"] == nil ? 300 : 50_000
    var random = Generator(state: 7)
    for _ in 0..<rounds {
      var bytes = files.randomElement(using: &random) ?? []
      for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
        let at = bytes.indices.randomElement(using: &random) ?? 0
        let end = min(bytes.count, at + Int.random(in: 1...30, using: &random))
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes[at] = [13, 10, 46, 0, 32, 60, 62].randomElement(using: &random) ?? 0
        case 2: bytes.removeSubrange(at..<end)
        case 3: bytes.insert(contentsOf: bytes[at..<end], at: at)
        case 4: bytes.insert([13, 10, 46, 32].randomElement(using: &random) ?? 0, at: at)
        default:
          let other = files.randomElement(using: &random) ?? []
          bytes.insert(contentsOf: other.suffix(Int.random(in: 0...other.count, using: &random)), at: at)
        }
      }
      let broken = SMTPFuzz.brokenRule(bytes)
      #expect(broken == nil, "\(bytes) \(String(decoding: bytes, as: UTF8.self).debugDescription)")
    }
  }
}

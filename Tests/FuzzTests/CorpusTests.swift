import DNSFuzz
import Foundation
import FuzzKit
import HTTPFuzz
import MIMEFuzz
import SMTPFuzz
import Testing
import WebSocketFuzz

/// What the fuzzer has found or begins with, tried without it: each file of a target's corpus is a test.
@Suite struct CorpusTests {
  private static let targets: [(name: String, rule: FuzzRule)] = [
    ("DNS", DNSFuzz.brokenRule), ("HTTP", HTTPFuzz.brokenRule), ("MIME", MIMEFuzz.brokenRule),
    ("SMTP", SMTPFuzz.brokenRule), ("WebSocket", WebSocketFuzz.brokenRule),
  ]

  @Test(arguments: targets.indices) func corpus(_ index: Int) throws {
    let target = Self.targets[index]
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Fuzz/\(target.name)/corpus")
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    #expect(!files.isEmpty, "\(target.name) has no corpus")
    for file in files {
      let broken = target.rule([UInt8](try Data(contentsOf: file)))
      #expect(broken == nil, "\(target.name): \(file.lastPathComponent)")
    }
  }
}

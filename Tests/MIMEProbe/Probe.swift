import Foundation
import MIMEFuzz
import Mail
import OpenSSL
import Pipeline

/// Says of each message named on standard input, a file a line, what we read in it: a line of JSON for
/// `Tests/Scenarios/test_mime.py`, which asks Python's email package the same.
@main enum Probe {
  static func main() throws {
    while let path = readLine() {
      let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      FileHandle.standardOutput.write(Data(describe(bytes).bytes) + Data([10]))
    }
  }

  private static func describe(_ bytes: [UInt8]) -> JSONValue {
    let message = MIMEMessage(Bytes(bytes))
    let parts = message.parts.map { part -> JSONValue in
      [
        "number": .string(part.number), "type": .string(part.type.value), "container": .bool(part.isContainer),
        "name": .optional(part.fileName), "size": .int(part.size),
        "sha256": .string(SHA256.hash(part.content()).description),
        "text": .string(part.isText ? part.source(limit: 1 << 20) : ""),
        "defects": .int(part.defects.rawValue),
      ]
    }
    let from = message.header.first("from").map { AddressList($0) }
    return [
      "parts": .array(parts), "broken": .optional(MIMEFuzz.brokenRule(bytes)),
      "subject": .optional(message.header.first("subject")?.display()), "preview": .string(message.preview()),
      "attachment": .bool(message.hasAttachment), "textLength": .int(message.text().utf8.count),
      "from": .array(
        (from?.mailboxes ?? []).map {
          ["name": .string($0.name), "local": .string($0.localPart), "domain": .string($0.domain)]
        }),
      "fromDefects": .int(from?.defects.rawValue ?? 0),
    ]
  }
}

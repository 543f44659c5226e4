import Glibc
import Mail
import Pipeline

/// Messages read as GMime reads them in `Benchmarks/C/mime.c`: the same is asked of both.
enum MIME {
  /// - Parameter what: `read` (structure, subject, senders, types and file names), `decode` (that, and every body, byte
  ///   for byte), or `summary` (what the store keeps for lists).
  static func run(_ folder: String, rounds: Int, _ what: String) throws {
    let messages = try load(folder)
    let total = messages.reduce(0) { $0 + $1.count }
    var found = 0
    let meter = Meter()
    for _ in 0..<rounds {
      for message in messages {
        found &+=
          what == "summary" ? MessageSummary(message).preview.utf8.count : read(message, decoding: what == "decode")
      }
    }
    report(
      count: messages.count * rounds, meter, ("bytes", Double(total * rounds)),
      ("found", Double(found / max(1, rounds))))
  }

  private static func read(_ bytes: Bytes, decoding: Bool) -> Int {
    let message = MIMEMessage(bytes)
    var found = message.header.first("subject")?.display().utf8.count ?? 0
    found += message.header.first("from").map { AddressList($0).mailboxes.count } ?? 0
    for part in message.parts where !part.isContainer {
      found += part.type.value.utf8.count + (part.fileName?.utf8.count ?? 0)
      guard decoding else { continue }
      var decoder = TransferDecoder(part.encoding, part.body)
      while true {
        let piece = decoder.next(4096)
        if piece.isEmpty { break }
        found &+= piece.count
      }
    }
    return found
  }

  static func load(_ folder: String) throws -> [Bytes] {
    guard let listing = opendir(folder) else { throw Failure() }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".eml") { names.append(name) }
    }
    return try names.sorted().map { name in
      guard let file = fopen(folder + "/" + name, "r") else { throw Failure() }
      defer { fclose(file) }
      fseek(file, 0, SEEK_END)
      var bytes = [UInt8](repeating: 0, count: ftell(file))
      rewind(file)
      guard fread(&bytes, 1, bytes.count, file) == bytes.count else { throw Failure() }
      return Bytes(bytes)
    }
  }

  struct Failure: Error {}
}

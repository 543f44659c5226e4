import Glibc
import Mail
import Pipeline

/// Documents into the embedded search index, as `Benchmarks/C/fts.c` puts them into plain FTS5: the same texts, as many a
/// transaction.
enum Search {
  /// Writes what is found of the messages in `folder` to a file: sender, recipients, subject and text of each, a size of
  /// four bytes before each.
  static func write(_ folder: String, to path: String) throws {
    guard let file = fopen(path, "w") else { throw MIME.Failure() }
    defer { fclose(file) }
    for bytes in try MIME.load(folder) {
      let message = MIMEMessage(bytes)
      func field(_ name: String) -> String { message.header.first(name)?.display() ?? "" }
      for text in [field("from"), field("to"), field("subject"), message.text(limit: SearchDocument.maximumText)] {
        var (text, size) = (text, UInt32(text.utf8.count).littleEndian)
        text.withUTF8 {
          _ = fwrite(&size, 4, 1, file)
          _ = fwrite($0.baseAddress, 1, $0.count, file)
        }
      }
    }
  }

  static func run(_ folder: String, documents path: String, rounds: Int) async throws {
    let texts = try read(path)
    let index = FTSSearchIndex(folder: folder)
    try await index.probe()
    let meter = Meter()
    let clock = SystemClock.shared
    var batch: [SearchDocument] = []
    for _ in 0..<rounds {
      for text in texts {
        batch.append(
          SearchDocument(
            mailbox: 1, id: MessageID(at: clock.now, random: SystemRandom()), received: clock.now, subject: text[2],
            from: text[0], to: text[1], text: text[3]))
        if batch.count == 128 {
          try await index.add(batch)
          batch.removeAll(keepingCapacity: true)
        }
      }
    }
    try await index.add(batch)
    report(count: texts.count * rounds, meter)
    await index.close()
  }

  private static func read(_ path: String) throws -> [[String]] {
    guard let file = fopen(path, "r") else { throw MIME.Failure() }
    defer { fclose(file) }
    var texts: [[String]] = []
    var document: [String] = []
    var size: UInt32 = 0
    while fread(&size, 4, 1, file) == 1 {
      var bytes = [UInt8](repeating: 0, count: Int(UInt32(littleEndian: size)))
      guard fread(&bytes, 1, bytes.count, file) == bytes.count else { throw MIME.Failure() }
      document.append(String(decoding: bytes, as: UTF8.self))
      guard document.count == 4 else { continue }
      texts.append(document)
      document = []
    }
    return texts
  }
}

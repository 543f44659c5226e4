import Archive
import Glibc
import Mail
import Pipeline

/// Looks at the parts of a message, and at what is packed in them, within limits.
///
/// Files are looked at one after another, and what an archive holds as soon as it is unpacked: in memory there is at a time
/// one file of each archive that lies in another.
struct ContentScanner {
  /// What is looked at, at most, of one message.
  struct Limits: Sendable {
    /// Archives in archives.
    var depth: Int
    /// Files in archives, in all.
    var files: Int
    /// Bytes of them, unpacked, in all.
    var bytes: Int
    /// How many times its size an attachment may unpack to, all that is in it together; up to a MiB, any may.
    var ratio: Int
    /// Processor time of unpacking, in all.
    var time: Duration
  }

  /// What a message is.
  enum Verdict: Sendable, Equatable {
    case clean
    /// Known to do harm: its name.
    case infected(String)
    /// Nothing known, but of a kind that people are warned of: what it is, and of which file.
    case dangerous(String, file: String)
  }

  let signatures: Signatures
  let limits: Limits

  /// The worst that is found.
  ///
  /// - Throws: once the task is cancelled.
  func scan(_ message: MIMEMessage) throws(CancellationError) -> Verdict {
    var scan = Scan(self)
    if message.defects.contains(.tooDeep) || message.defects.contains(.tooManyParts) { scan.warn("too-many-parts", "") }
    do throws(Scan.End) {
      for part in message.parts where !part.isContainer {
        // Text that is shown may begin as it likes, unless it comes as a file.
        try scan.attachment(part.content(), part.fileName ?? (message.isAttachment(part) ? "" : nil))
      }
    } catch {
      switch error {
      case .infected(let name): return .infected(name)
      case .cancelled: throw CancellationError()
      }
    }
    return scan.verdict
  }

  /// What the file is known as; nil: it is not.
  func known(_ bytes: Bytes) -> String? {
    if Self.isEICAR(bytes) { return "Eicar-Test-Signature" }
    return bytes.withUnsafeBytes { signatures.name(of: $0) }
  }

  /// The test file that every scanner knows (eicar.org, "Anti Malware Testfile"): these 68 bytes, then at most 60 of white
  /// space. In two pieces, so that no scanner takes this file for it.
  private static let eicar =
    Array(#"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD"#.utf8) + Array("-ANTIVIRUS-TEST-FILE!$H+H*".utf8)

  private static func isEICAR(_ bytes: Bytes) -> Bool {
    bytes.count >= eicar.count && bytes.count <= 128 && bytes.starts(with: eicar)
      && bytes[eicar.count..<bytes.count].allSatisfy { [9, 10, 13, 26, 32].contains($0) }
  }
}

/// One message that is being looked at: what was found, and what is left of the limits.
private struct Scan {
  /// Nothing more is looked at.
  enum End: Error {
    case infected(String)
    case cancelled
  }

  private let scanner: ContentScanner
  private(set) var verdict = ContentScanner.Verdict.clean
  private var files: Int
  private var bytes: Int
  /// How much the attachment may still unpack to, by its size.
  private var room = 0
  private let began = Self.processorTime()

  init(_ scanner: ContentScanner) {
    self.scanner = scanner
    files = scanner.limits.files
    bytes = scanner.limits.bytes
  }

  /// Notes a danger; the first one counts.
  mutating func warn(_ what: String, _ file: String) {
    if verdict == .clean { verdict = .dangerous(what, file: file) }
  }

  /// - Parameter name: nil: text to read, in which nothing but known files are looked for.
  mutating func attachment(_ bytes: Bytes, _ name: String?) throws(End) {
    room = max(1 << 20, bytes.count * scanner.limits.ratio)
    try look(bytes, name, depth: 0)
  }

  /// Looks at a file and, archive in archive, at what is in it: as deep as the limit says, which is at most 32.
  private mutating func look(_ bytes: Bytes, _ name: String?, depth: Int) throws(End) {
    if let name = scanner.known(bytes) { throw .infected(name) }
    guard let name else { return }
    if let kind = bytes.withUnsafeBytes({ DangerousType.kind(of: $0, name: name) }) { warn(kind, name) }
    guard depth < scanner.limits.depth else {
      if DangerousType.isArchive(bytes) { warn("archive-too-deep", name) }
      return
    }
    try bytes.withUnsafeBytes { buffer throws(End) in
      _ = try ArchiveReader.read(buffer) { reader throws(End) in
        var end: End?
        do throws(ArchiveError) { end = try unpack(reader, bytes, name, depth) } catch {
          if DangerousType.isArchive(bytes) { warn("archive-damaged", name) }
        }
        if let end { throw end }
      }
    }
  }

  /// Looks at what is in an archive, as far as it can be read. What ends all is returned, since what is
  /// thrown is the archive's.
  private mutating func unpack(
    _ reader: ArchiveReader, _ archive: Bytes, _ name: String, _ depth: Int
  ) throws(ArchiveError) -> End? {
    var isEmpty = true
    while let entry = try reader.next() {
      isEmpty = false
      guard files > 0 else {
        warn("archive-too-many-files", name)
        return nil
      }
      files -= 1
      guard entry.isFile else { continue }
      guard !entry.isEncrypted else {
        // Nobody can look into it, and that is often why it was encrypted.
        warn("archive-encrypted", name)
        return nil
      }
      var stopped: String?
      let limit = min(bytes, room)
      let content = try reader.content(limit: limit + 1) {
        if Task.isCancelled { stopped = "" }
        if Self.processorTime() - began > scanner.limits.time { stopped = "archive-too-slow" }
        return stopped == nil
      }
      if stopped == "" { return .cancelled }
      if stopped == nil, content.count > limit { stopped = room < bytes ? "archive-bomb" : "archive-too-large" }
      if let stopped {
        warn(stopped, name)
        return nil
      }
      bytes -= content.count
      room -= content.count
      do throws(End) {
        // What was packed alone is called as before, without the last ending.
        let inner = entry.name.isEmpty ? Self.withoutEnding(name) : entry.name
        try look(Bytes(content), inner, depth: depth + 1)
      } catch { return error }
    }
    // What begins with zeros reads as a tar that ends at once, whatever stands behind them.
    if isEmpty, DangerousType.isArchive(archive) { warn("archive-empty", name) }
    return nil
  }

  private static func withoutEnding(_ name: String) -> String {
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return name }
    return String(name[..<dot])
  }

  /// Of this thread: what else the machine does is not the message's fault.
  private static func processorTime() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }
}

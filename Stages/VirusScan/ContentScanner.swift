import Archive
import Mail
import Pipeline

/// Looks at the parts of a message, and at what is packed in them, within limits.
struct ContentScanner {
  /// What is looked at, at most, of one message.
  struct Limits: Sendable {
    /// Archives in archives.
    var depth: Int
    /// Files in archives, in all.
    var files: Int
    /// Bytes of them, unpacked, in all.
    var bytes: Int
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

  private struct File {
    let bytes: Bytes
    let name: String?
    let depth: Int
  }

  /// The worst that is found.
  func scan(_ message: MIMEMessage) -> Verdict {
    var verdict = Verdict.clean
    func warn(_ what: String, _ file: String?) {
      if verdict == .clean { verdict = .dangerous(what, file: file ?? "") }
    }
    if message.defects.contains(.tooDeep) || message.defects.contains(.tooManyParts) { warn("too-many-parts", nil) }
    var files = message.parts.filter { !$0.isContainer }.map { part in
      File(bytes: part.content(), name: message.isAttachment(part) ? part.fileName ?? "" : nil, depth: 0)
    }
    var left = limits
    while let file = files.popLast() {
      if let name = known(file.bytes) { return .infected(name) }
      // Text that is shown may begin as it likes.
      guard let name = file.name else { continue }
      if let kind = file.bytes.withUnsafeBytes({ DangerousType.kind(of: $0, name: name) }) { warn(kind, name) }
      switch unpack(file, &left, &files) {
      case .whole: break
      case .partly(let why): warn(why, name)
      }
    }
    return verdict
  }

  private func known(_ bytes: Bytes) -> String? {
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

  private enum Unpacked {
    case whole
    case partly(String)
  }

  /// Adds what is packed in a file to `files`.
  private func unpack(_ file: File, _ left: inout Limits, _ files: inout [File]) -> Unpacked {
    guard file.depth < limits.depth else {
      return Self.isArchive(file.bytes) ? .partly("archive-too-deep") : .whole
    }
    do throws(ArchiveError) {
      let result = try file.bytes.withUnsafeBytes { bytes throws(ArchiveError) in
        try ArchiveReader.read(bytes) { reader throws(ArchiveError) -> Unpacked in
          var isEmpty = true
          while let entry = try reader.next() {
            isEmpty = false
            guard left.files > 0 else { return .partly("archive-too-many-files") }
            left.files -= 1
            guard entry.isFile else { continue }
            // Nobody can look into it, and that is often why it was encrypted.
            guard !entry.isEncrypted else { return .partly("archive-encrypted") }
            let content = try reader.content(limit: left.bytes + 1)
            guard content.count <= left.bytes else { return .partly("archive-too-large") }
            left.bytes -= content.count
            files.append(File(bytes: Bytes(content), name: entry.name, depth: file.depth + 1))
          }
          // What begins with zeros reads as a tar that ends at once, whatever stands behind them.
          return isEmpty && Self.isArchive(file.bytes) ? .partly("archive-empty") : .whole
        }
      }
      return result ?? .whole
    } catch { return Self.isArchive(file.bytes) ? .partly("archive-damaged") : .whole }
  }

  /// Whether it begins as an archive does that people open with a click.
  private static func isArchive(_ bytes: Bytes) -> Bool {
    let magics: [[UInt8]] = [
      [0x50, 0x4B, 3, 4], [0x52, 0x61, 0x72, 0x21, 0x1A, 7], [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], [0x1F, 0x8B],
      [0x4D, 0x53, 0x43, 0x46], [0xFD, 0x37, 0x7A, 0x58, 0x5A],
    ]
    return magics.contains { bytes.starts(with: $0) }
  }
}

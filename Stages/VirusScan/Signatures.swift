import Glibc
import OpenSSL
import Pipeline
import Synchronization

/// Digests of files that are known to be harmful, by digest.
///
/// Files of lines: ClamAV's `.hdb` and `.hsb` (`DIGEST:SIZE:NAME`, size in bytes or `*`), or `DIGEST` with a name behind
/// it or none. MD5, SHA-1 or SHA-256 by the number of digits. Empty lines and `#` are passed over.
struct Signatures: Sendable {
  private struct Known: Sendable {
    let size: Int?
    let name: String
  }
  private var known: [String: Known] = [:]
  private var sizes: [FileDigest: Set<Int>] = [:]
  private var anySize: Set<FileDigest> = []

  /// How many there are.
  var count: Int { known.count }

  /// The name of what `bytes` are; nil: not known.
  func name(of bytes: UnsafeRawBufferPointer) -> String? {
    for algorithm in FileDigest.allCases {
      guard anySize.contains(algorithm) || sizes[algorithm]?.contains(bytes.count) == true,
        let digest = algorithm.digest(bytes), let found = known[digest]
      else { continue }
      if found.size == nil || found.size == bytes.count { return found.name }
    }
    return nil
  }

  /// Adds a file's lines.
  ///
  /// - Throws: a text that names the line that is none.
  mutating func add(_ text: some StringProtocol, file: String) throws(SignatureError) {
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let line = line.drop { $0.isWhitespace }
      guard let first = line.first, first != "#" else { continue }
      let digest = line.prefix { $0.isHexDigit }
      let rest = line.dropFirst(digest.count)
      guard let algorithm = FileDigest(digits: digest.count), rest.first.map({ $0 == ":" || $0.isWhitespace }) ?? true
      else { throw SignatureError("\(file):\(number + 1): no digest of MD5, SHA-1 or SHA-256") }
      var size: Int?
      var name = rest.dropFirst().filter { !$0.isWhitespace }
      if rest.first == ":" {
        let fields = rest.dropFirst().split(separator: ":", omittingEmptySubsequences: false)
        guard fields.count >= 2, fields[0] == "*" || Int(fields[0]) != nil else {
          throw SignatureError("\(file):\(number + 1): a line is DIGEST:SIZE:NAME")
        }
        size = Int(fields[0])
        name = fields[1].filter { !$0.isWhitespace }
      }
      known[digest.lowercased()] = Known(size: size, name: name.isEmpty ? "Known.\(digest.prefix(12))" : String(name))
      if let size { sizes[algorithm, default: []].insert(size) } else { anySize.insert(algorithm) }
    }
  }
}

/// A list of signatures that cannot be used.
struct SignatureError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Signatures in files, read again when those have changed.
final class SignatureFiles: Sendable {
  private struct State {
    var signatures: Signatures
    var stamps: [Stamp]
    var lookedAt: Timestamp
  }
  private struct Stamp: Equatable {
    let seconds: Int
    let nanoseconds: Int
    let size: Int
  }
  private let paths: [String]
  private let state: Mutex<State>

  /// How often the files are looked at.
  private static let interval = Duration.seconds(10)
  /// The largest file.
  private static let maximumSize = 256 << 20

  init(_ paths: [String]) throws(SignatureError) {
    self.paths = paths
    state = Mutex(
      State(signatures: try Self.load(paths), stamps: paths.map(Self.stamp), lookedAt: .distantPast))
  }

  /// What the files say; a file that has become unreadable leaves what was read before, and is told to `log`.
  func current(at now: Timestamp, _ log: Log) -> Signatures {
    let isDue = state.withLock { state in
      guard now - state.lookedAt >= Self.interval else { return false }
      state.lookedAt = now
      return true
    }
    if isDue {
      let stamps = paths.map(Self.stamp)
      if stamps != state.withLock({ $0.stamps }) {
        do throws(SignatureError) {
          let signatures = try Self.load(paths)
          state.withLock { $0.signatures = signatures }
          log.write(.info, "signatures read again", ("count", "\(signatures.count)"))
        } catch { log.write(.error, "signatures cannot be read; the old ones hold", ("error", error.description)) }
        state.withLock { $0.stamps = stamps }
      }
    }
    return state.withLock { $0.signatures }
  }

  private static func stamp(_ path: String) -> Stamp {
    var status = stat()
    guard stat(path, &status) == 0 else { return Stamp(seconds: 0, nanoseconds: 0, size: -1) }
    return Stamp(seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec, size: Int(status.st_size))
  }

  private static func load(_ paths: [String]) throws(SignatureError) -> Signatures {
    var signatures = Signatures()
    for path in paths {
      let descriptor = open(path, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw SignatureError("cannot read \(path): \(String(cString: strerror(errno)))") }
      defer { close(descriptor) }
      var status = stat()
      guard fstat(descriptor, &status) == 0, status.st_size <= maximumSize else {
        throw SignatureError("\(path) is larger than \(maximumSize >> 20) MiB")
      }
      var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
      var at = 0
      while at < bytes.count {
        let count = bytes.withUnsafeMutableBytes { buffer in
          buffer.baseAddress.map { read(descriptor, $0 + at, buffer.count - at) } ?? 0
        }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw SignatureError("cannot read \(path) to its end") }
        at += count
      }
      try signatures.add(String(decoding: bytes, as: UTF8.self), file: path)
    }
    return signatures
  }
}

import EmbeddedBroker
import Glibc

/// A folder that goes with the last reference.
final class TemporaryFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/mailflow-broker-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) } ?? "/tmp"
    }
  }

  deinit {
    guard path != "/tmp" else { return }
    for folder in ["\(path)/data/bell", "\(path)/data", "\(path)/bell", path] { Self.remove(folder) }
  }

  private static func remove(_ folder: String) {
    guard let directory = opendir(folder) else { return }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      unlink("\(folder)/\(name)")
    }
    closedir(directory)
    rmdir(folder)
  }
}

extension EmbeddedBroker.Options {
  /// For tests: no reserve, since the machine's disk is not theirs, and no ballast.
  static var test: Self {
    var options = Self()
    options.reserve = 0
    options.ballast = 0
    return options
  }
}

import CLinux
import Glibc

/// Tells when a file is written to, in this process or another: inotify(7).
///
/// The file must exist. Changes that nobody asked for are merged by the kernel, and a full queue still counts as one.
public struct FileWatch: Sendable {
  /// Readable once the file was modified.
  public let descriptor: Int32

  /// Starts to watch. Throws ENOENT when the file is missing, EMFILE when the user has too many watches.
  public init(path: String) throws(Errno) {
    let descriptor = clinux_inotify()
    guard descriptor >= 0 else { throw .last }
    guard inotify_add_watch(descriptor, path, UInt32(IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE)) >= 0 else {
      let failure = Errno.last
      _ = Glibc.close(descriptor)
      throw failure
    }
    self.descriptor = descriptor
  }

  /// Whether the file changed since the last call; forgets the changes.
  public func takeChanges() -> Bool {
    var changed = false
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while read(descriptor, buffer.baseAddress, buffer.count) > 0 { changed = true }
    }
    return changed
  }

  /// Blocks the thread until the file changes, then forgets the changes. False when `timeout` passed first.
  public func wait(timeout: Duration) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    let (seconds, attoseconds) = timeout.components
    let milliseconds = Swift.min(Swift.max(seconds, 0), 1_000_000) * 1000 + attoseconds / 1_000_000_000_000_000
    guard poll(&entry, 1, Int32(clamping: Swift.max(0, milliseconds))) > 0 else { return false }
    return takeChanges()
  }

  /// Gives the descriptor back.
  public func close() {
    _ = Glibc.close(descriptor)
  }
}

import Glibc
import Linux

/// A regular file that is open for reading. Closed when nobody has it any more.
///
/// What is sent is what the file holds then: replace files that change by renaming others over them.
public final class HTTPFile: Sendable {
  /// In bytes, when it was opened.
  public let size: Int
  /// When it was changed last, in seconds since 1970.
  public let modified: Int
  let descriptor: Int32

  /// Opens it. Throws what the system says; EINVAL for what is no regular file.
  public init(path: String) throws(NetworkError) {
    // A FIFO must not make us wait for who writes it.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .last(.read) }
    var found = stat()
    guard fstat(descriptor, &found) == 0, found.st_mode & S_IFMT == S_IFREG else {
      _ = close(descriptor)
      throw .system(.read, code: EINVAL, text: "not a regular file")
    }
    (size, modified, self.descriptor) = (Int(found.st_size), Int(found.st_mtim.tv_sec), descriptor)
  }

  deinit { _ = close(descriptor) }
}

import Glibc
import Pipeline

/// The files of an embedded broker beside SQLite's: a ballast to throw overboard when the disk is full, and the bells by
/// which processes on the same folder wake each other.
final class DataFolder: Sendable {
  /// The folder.
  let path: String
  /// The database file.
  let database: String
  /// Where each process has a file that it writes to after a commit.
  let bells: String
  /// The name of this one's.
  let bellName: String
  private let bell: Int32
  private let ballast: Int64

  /// Makes the folder if it is not there.
  init(path: String, ballast: Int64) throws(BrokerError) {
    let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    self.path = trimmed
    self.ballast = ballast
    database = "\(trimmed)/broker.db"
    bells = "\(trimmed)/bell"
    try Self.makeFolders(trimmed)
    try Self.makeFolders(bells)
    // More than one broker of a process may be on the folder, in tests and tools.
    bellName = "\(getpid())-\(monotonicNanoseconds())"
    bell = open("\(bells)/\(bellName)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard bell >= 0 else { throw Self.error("create a file in", bells) }
    Self.removeOrphans(in: bells)
    ring()
  }

  deinit {
    if bell >= 0 { close(bell) }
  }

  private static func makeFolders(_ path: String) throws(BrokerError) {
    var so = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      so += so.isEmpty || so.hasSuffix("/") ? String(part) : "/\(part)"
      if mkdir(so, 0o700) != 0, errno != EEXIST, errno != EISDIR { throw error("create", so) }
    }
    guard access(path, R_OK | W_OK | X_OK) == 0 else { throw error("use", path) }
  }

  private static func error(_ what: String, _ path: String) -> BrokerError {
    let code = errno
    let reason = String(cString: strerror(code))
    let kind: BrokerError.Kind =
      switch code {
      case EACCES, EPERM, EROFS: .notPermitted
      case ENOSPC, EDQUOT: .storageFull
      default: .other
      }
    return BrokerError(
      kind, "cannot \(what) \(path) as user \(getuid()): \(reason)",
      hint: kind == .notPermitted ? "give the folder to that user, or choose another with --data" : nil)
  }

  /// Makes the database file, for this user only, before SQLite does.
  ///
  /// One that is there is left alone: closing it would drop the locks of a connection that this process has on it
  /// (sqlite.org/howtocorrupt.html, section 2.2).
  func prepareDatabase() throws(BrokerError) {
    let file = open(database, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if file >= 0 {
      close(file)
    } else if errno != EEXIST {
      throw Self.error("create", database)
    }
  }

  /// Bytes that this user may still write on the folder's disk.
  func freeSpace() -> Int64? {
    var information = statvfs()
    guard statvfs(path, &information) == 0 else { return nil }
    let (bytes, overflow) = Int64(clamping: information.f_bavail).multipliedReportingOverflow(
      by: Int64(clamping: information.f_frsize))
    return overflow ? .max : bytes
  }

  // MARK: The bell

  /// Tells other processes that something was committed.
  func ring() {
    var byte: UInt8 = 1
    _ = pwrite(bell, &byte, 1, 0)
  }

  func removeBell() { unlink("\(bells)/\(bellName)") }

  /// Removes the bells of processes that are gone.
  private static func removeOrphans(in folder: String) {
    for name in names(in: folder) {
      guard let pid = name.split(separator: "-").first.flatMap({ pid_t($0) }), pid > 0 else { continue }
      if kill(pid, 0) != 0, errno == ESRCH { unlink("\(folder)/\(name)") }
    }
  }

  static func names(in folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var result: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { result.append(name) }
    }
    return result
  }

  // MARK: The ballast

  // With the disk full, SQLite in WAL mode can neither delete nor checkpoint. A file that only takes up room is given
  // up then, so that what waits can be worked off; new records stay refused, because the reserve is larger.
  private var ballastPath: String { "\(path)/ballast" }

  /// Gives the ballast up; false if there was none.
  func dropBallast() -> Bool { unlink(ballastPath) == 0 }

  /// Makes the ballast again when there is plenty of room.
  func keepBallast() {
    guard ballast > 0, access(ballastPath, F_OK) != 0, let free = freeSpace(), free > 4 * ballast else { return }
    let file = open(ballastPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { return }
    defer { close(file) }
    if posix_fallocate(file, 0, Int(ballast)) != 0 { unlink(ballastPath) }
  }
}

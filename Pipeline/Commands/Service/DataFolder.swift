import Glibc
import Linux
import Pipeline

/// The data folder of a deployment on this machine, and the files in it that processes find each other by.
public struct DataFolder: Sendable {
  /// Its path.
  public let path: String

  /// The data folder at `path`; nothing is created yet.
  public init(_ path: String) { self.path = path }

  /// The topology in force, as it was written.
  public var topology: String { "\(path)/run/topology.yaml" }
  /// `--set` of the running service, a line each, and the name of its topology file.
  public var arguments: String { "\(path)/run/arguments" }
  /// The embedded broker's database.
  var broker: String { "\(path)/broker.db" }
  /// How the stages are doing: a line each, `FLOW TAB STAGE TAB STATE TAB REASON`.
  public var status: String { "\(path)/run/status" }
  /// The journal of the worker `name`. See `InHandFile`.
  public func inHand(_ name: String) -> String { "\(path)/run/in-hand-\(name)" }
  /// Messages that were in hand when a worker died on its own: a line each, `GROUP ID CRASHES`.
  public var suspects: String { "\(path)/suspects" }
  /// Consumer groups of stages that took the gateways down when they were tried before accepting: a line each.
  var notBeforeAccept: String { "\(path)/run/not-before-accept" }
  private var lockFile: String { "\(path)/lock" }

  /// Creates what is missing.
  public func prepare() throws(ServiceError) {
    guard !path.isEmpty else {
      throw ServiceError(.usage, "the data folder has no name", hint: "--data DIR, or `data:` in the topology")
    }
    var found = stat()
    if stat(path, &found) == 0, found.st_mode & S_IFMT != S_IFDIR {
      throw ServiceError(.cannotCreate, "the data folder \(path) is a file", hint: "name a folder with --data DIR")
    }
    for folder in [path, "\(path)/run"] {
      if mkdir(folder, 0o700) != 0, errno != EEXIST {
        let code = errno
        if code == EACCES || code == EPERM { throw .system("create", folder, code: code) }
        throw ServiceError(
          .cannotCreate, "cannot create the data folder \(folder): \(String(cString: strerror(code)))",
          hint: code == ENOENT ? "its parent folder does not exist" : nil)
      }
      guard access(folder, R_OK | W_OK | X_OK) == 0 else { throw .system("use the data folder", folder) }
    }
  }

  /// Takes the folder for this process and the children that inherit the lock.
  ///
  /// Held by a service whose supervisor lives, it is refused at once; by children of one that died, it is waited for.
  public func lock() throws(ServiceError) {
    let opened = open(lockFile, O_RDWR | O_CREAT, 0o600)
    guard opened >= 0 else { throw .system("open", lockFile) }
    // Children inherit it, and have something else at the first numbers.
    let descriptor = fcntl(opened, F_DUPFD, 10)
    guard descriptor >= 0 else { throw .system("open", lockFile) }
    close(opened)
    for _ in 0..<200 {
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
        let text = "\(getpid())\n"
        ftruncate(descriptor, 0)
        _ = pwrite(descriptor, text, text.utf8.count, 0)
        return  // kept open for as long as this process and its children live
      }
      if let owner = lockOwner(descriptor), kill(owner, 0) == 0 || errno == EPERM {
        close(descriptor)
        throw ServiceError(
          .temporary, "another mailflow (process \(owner)) is running on \(path)",
          hint: "stop it first, or choose another folder with --data")
      }
      usleep(50_000)
    }
    close(descriptor)
    throw ServiceError(.temporary, "the data folder \(path) is still locked by processes of a service that died")
  }

  private func lockOwner(_ descriptor: Int32) -> pid_t? {
    var bytes = [UInt8](repeating: 0, count: 32)
    let count = pread(descriptor, &bytes, bytes.count, 0)
    guard count > 0 else { return nil }
    return pid_t(String(decoding: bytes.prefix { $0 >= 48 && $0 <= 57 }, as: UTF8.self))
  }

  /// This node's name among those that share a broker: made at the first call, and the same for as long as the folder
  /// lives.
  func node() throws(ServiceError) -> String {
    let file = "\(path)/node"
    if let text = Self.read(file)?.split(separator: "\n").first, !text.isEmpty { return String(text) }
    let host = machineName().lowercased().prefix { $0 != "." }.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
    let name = (host.isEmpty ? "node" : String(host.prefix(30))) + "-" + String(SystemRandom().next() >> 34, radix: 36)
    try Self.write(name + "\n", to: file, isDurable: true)
    return name
  }

  /// Throws if others own the folder, and do not let this user look into it.
  func requireAccess() throws(ServiceError) {
    if access(path, R_OK | X_OK) != 0, errno == EACCES { throw .system("look into the data folder", path) }
  }

  // MARK: Small files

  /// Whether there is a file or folder at `path`.
  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The text of a file; nil if it cannot be read or is larger than 4 MiB.
  public static func read(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count <= 4 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      if count < 0 {
        if errno == EINTR { continue }
        return nil
      }
      bytes.append(contentsOf: chunk[0..<count])
    }
    return nil
  }

  /// Replaces a file, for its owner only: whoever reads it sees the old text or the new one. `isDurable` also over a crash
  /// of the machine.
  public static func write(_ text: String, to path: String, isDurable: Bool = false) throws(ServiceError) {
    let temporary = "\(path).new"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system("create", temporary) }
    defer { close(descriptor) }
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw .system("write", temporary) }
      rest = rest.dropFirst(count)
    }
    if isDurable { fsync(descriptor) }
    guard rename(temporary, path) == 0 else { throw .system("rename", temporary) }
  }
}

/// Messages that were in hand when a worker died on its own, and what each has done alone (`StageRunner.Strikes`).
struct SuspectList: Sendable {
  private(set) var strikes: [String: [MessageID: Int]] = [:]

  init() {}

  init(_ text: String) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3, let id = MessageID(words[1]), let count = Int(words[2]) else { continue }
      strikes[String(words[0]), default: [:]][id] = count
    }
  }

  /// They were in hand among others.
  mutating func add(_ entries: [InHandFile.Entry]) {
    for entry in entries { strikes[entry.group, default: [:]][entry.id, default: 0] += 0 }
  }

  /// They ended their process alone: by a crash, or by not ending when their time was over.
  mutating func strike(_ entries: [InHandFile.Entry], isCrash: Bool) {
    for entry in entries {
      let before = strikes[entry.group]?[entry.id] ?? 0
      let after = isCrash ? max(before, StageRunner.Strikes.hung) + 1 : before + 1
      strikes[entry.group, default: [:]][entry.id] = after
    }
  }

  /// Those that became dead letters may be sent again, and are tried again then.
  mutating func forgetTheDead() {
    strikes = strikes.mapValues { $0.filter { $0.value < StageRunner.Strikes.dead } }
  }

  var suspects: [String: Set<MessageID>] { strikes.mapValues { Set($0.keys) } }

  var text: String {
    strikes.sorted { $0.key < $1.key }.flatMap { group, ids in
      ids.sorted { $0.key < $1.key }.map { "\(group) \($0.key) \($0.value)\n" }
    }.joined()
  }
}

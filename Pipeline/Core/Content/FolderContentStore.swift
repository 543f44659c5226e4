import Glibc
import OpenSSL
import Synchronization

/// Content under its SHA-256 in a folder: `FOLDER/ab/cdef…`, written to a temporary name, synced, renamed.
///
/// What has its name is whole: a crash leaves files under `FOLDER/.new-…` only, which nobody reads. Several processes
/// may share the folder. The modification time says when content was last put, for garbage collection.
public final class FolderContentStore: ContentStore {
  private let folder: String
  /// File operations block: they run here. The threads serve every folder of the process.
  private static let threads = ThreadPool(threads: 2)
  private let checked = Mutex<[String: CheckedFile]>([:])

  /// Keeps content in `folder`, which is created at the first `put`; the folder that holds it must exist.
  public init(folder: String) { self.folder = folder }

  /// See `ContentStore.put`. Durable, its name included, on return.
  ///
  /// - Throws: `StageError`: `dependencyDown` when the folder refuses or the disk is full.
  public func put(_ bytes: Bytes) async throws -> ContentReference {
    try await withTaskExecutorPreference(Self.threads) { try await self.write(bytes) }
  }

  /// See `ContentStore.get`.
  ///
  /// - Throws: `StageError`: permanent `content.missing` or `content.corrupt`, `dependencyDown` when the folder refuses.
  public func get(_ reference: ContentReference) async throws -> Bytes {
    try await withTaskExecutorPreference(Self.threads) { try await self.read(reference) }
  }

  /// See `ContentStore.file`.
  ///
  /// - Throws: as `get`.
  public func file(_ reference: ContentReference) async throws -> String? {
    let path = try path(of: reference)
    let known = checked.withLock { $0[path] }
    if let known, known.isGood, known.size == reference.size, known == CheckedFile(path) { return path }
    return try await withTaskExecutorPreference(Self.threads) { try await self.check(reference) }
  }

  @concurrent
  private func write(_ bytes: Bytes) async throws -> ContentReference {
    let digest = SHA256.hash(bytes).description
    let reference = ContentReference(digest: digest, size: bytes.count)
    let (parent, path) = place(digest)
    // Touched and of the right size: nothing to write. A file of another size cannot be ours, and is replaced.
    var status = stat()
    if stat(path, &status) == 0, status.st_size == bytes.count, utimensat(AT_FDCWD, path, nil, 0) == 0 {
      // Another process may have given it its name a moment ago, and not have synced that yet.
      try Self.sync(parent)
      return reference
    }
    try create(folder, in: folder + "/..")
    try create(parent, in: folder)
    let temporary = "\(folder)/.new-\(getpid())-\(hexadecimal(try randomName()))"
    do {
      try Self.file(temporary, bytes)
      guard rename(temporary, path) == 0 else { throw Self.refused("rename", path) }
      try Self.sync(parent)
    } catch {
      unlink(temporary)
      throw error
    }
    return reference
  }

  @concurrent
  private func read(_ reference: ContentReference) async throws -> Bytes {
    var bytes: [UInt8] = []
    try read(reference) { piece in
      // Not before: only now is it known that there is as much as the reference says.
      if bytes.isEmpty { bytes.reserveCapacity(reference.size) }
      bytes.append(contentsOf: piece)
    }
    return Bytes(bytes)
  }

  @concurrent
  private func check(_ reference: ContentReference) async throws -> String {
    let path = try path(of: reference)
    let found = CheckedFile(path)
    try read(reference) { _ in }
    checked.withLock { checked in
      // Those that nobody asks for any more are forgotten with the rest.
      if checked.count >= 10_000 { checked = [:] }
      checked[path] = found
    }
    return path
  }

  /// Shows it in pieces of up to 256 KiB, and throws behind the last one if they are not what was written.
  private func read(_ reference: ContentReference, _ body: (UnsafeRawBufferPointer) -> Void) throws {
    let path = try path(of: reference)
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      if errno == ENOENT { throw StageError.permanent("content.missing", "there is no \(path)") }
      throw Self.refused("open", path)
    }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw Self.refused("stat", path) }
    guard status.st_size == reference.size else {
      throw StageError.permanent(
        "content.corrupt", "\(path) has \(status.st_size) bytes, \(reference.size) were written")
    }
    var digest = SHA256.Pieces()
    try withUnsafeTemporaryAllocation(byteCount: min(reference.size, 256 * 1024), alignment: 16) { buffer in
      var left = reference.size
      while left > 0 {
        let count = Glibc.read(file, buffer.baseAddress, min(left, buffer.count))
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw Self.refused("read", path) }
        let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        digest.add(piece)
        body(piece)
        left -= count
      }
    }
    guard digest.end()?.description == reference.digest else {
      throw StageError.permanent("content.corrupt", "\(path) is not what was written: its SHA-256 differs")
    }
  }

  private func path(of reference: ContentReference) throws -> String {
    // Nothing but a digest may become one.
    guard Digest256(hex: reference.digest) != nil else {
      throw StageError.permanent("content.missing", "“\(reference.digest.prefix(100))” is no SHA-256")
    }
    return place(reference.digest).path
  }

  private func place(_ digest: String) -> (parent: String, path: String) {
    let parent = "\(folder)/\(digest.prefix(2))"
    return (parent, "\(parent)/\(digest.dropFirst(2))")
  }

  private func randomName() throws -> [UInt8] {
    do { return try randomBytes(8) } catch { throw StageError.dependencyDown("content store", error.description) }
  }

  private func create(_ path: String, in parent: String) throws {
    if mkdir(path, 0o700) == 0 { return try Self.sync(parent) }
    guard errno == EEXIST else { throw Self.refused("mkdir", path) }
  }

  private static func file(_ path: String, _ bytes: Bytes) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw refused("create", path) }
    defer { close(file) }
    try bytes.withUnsafeBytes { buffer in
      var at = 0
      while at < buffer.count, let base = buffer.baseAddress {
        let count = Glibc.write(file, base + at, buffer.count - at)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw refused("write", path) }
        at += count
      }
    }
    guard fsync(file) == 0 else { throw refused("sync", path) }
  }

  private static func sync(_ folder: String) throws {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw refused("open", folder) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw refused("sync", folder) }
  }

  private static func refused(_ what: String, _ path: String) -> StageError {
    StageError.dependencyDown("content store", "cannot \(what) \(path): \(String(cString: strerror(errno)))")
  }
}

/// Which file was checked, and how long that is good.
private struct CheckedFile: Equatable {
  let size: Int
  private let inode: ino_t
  private let changed: (seconds: Int, nanoseconds: Int)
  private let until = monotonicNanoseconds() + 600_000_000_000

  /// The file as it is now; nil if there is none.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    size = Int(status.st_size)
    inode = status.st_ino
    changed = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
  }

  var isGood: Bool { monotonicNanoseconds() < until }

  static func == (left: CheckedFile, right: CheckedFile) -> Bool {
    left.inode == right.inode && left.size == right.size && left.changed == right.changed
  }
}

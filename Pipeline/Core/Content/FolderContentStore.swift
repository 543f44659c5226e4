import Glibc
import OpenSSL

/// Content under its SHA-256 in a folder: `FOLDER/ab/cdef…`, written to a temporary name, synced, renamed.
///
/// What has its name is whole: a crash leaves files under `FOLDER/.new-…` only, which nobody reads. Several processes
/// may share the folder. The modification time says when content was last put, for garbage collection.
public final class FolderContentStore: ContentStore {
  private let folder: String
  /// File operations block: they run here. The threads serve every folder of the process.
  private static let threads = ThreadPool(threads: 2)

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
    // A path is made of it: nothing but a digest may become one.
    guard Digest256(hex: reference.digest) != nil else {
      throw StageError.permanent("content.missing", "“\(reference.digest.prefix(100))” is no SHA-256")
    }
    let path = place(reference.digest).path
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
    var bytes = [UInt8](repeating: 0, count: reference.size)
    var at = 0
    while at < bytes.count {
      let count = bytes.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { Glibc.read(file, $0 + at, buffer.count - at) } ?? 0
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Self.refused("read", path) }
      at += count
    }
    guard SHA256.hash(bytes).description == reference.digest else {
      throw StageError.permanent("content.corrupt", "\(path) is not what was written: its SHA-256 differs")
    }
    return Bytes(bytes)
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

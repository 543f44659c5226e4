/// The payload of a message: held in memory, left with the broker, or kept by reference in a content store.
///
/// Loading is asynchronous everywhere, so that a stage reads the same way wherever the bytes are. A stage that does not
/// ask for them costs nothing.
public struct Content: Sendable {
  /// Where the bytes are.
  public enum Storage: Sendable {
    /// In memory.
    case bytes(Bytes)
    /// In the record that carried the message.
    case record(Record)
    /// In the content store, under their digest (claim check).
    case reference(ContentReference, any ContentStore)
  }

  /// Where the bytes are.
  public let storage: Storage

  /// Content kept in `storage`.
  public init(_ storage: Storage) { self.storage = storage }
  /// Content held in memory.
  public init(_ bytes: Bytes) { storage = .bytes(bytes) }

  /// Its size in bytes, known without loading it.
  public var size: Int {
    switch storage {
    case .bytes(let bytes): bytes.count
    case .record(let record): record.valueSize
    case .reference(let reference, _): reference.size
    }
  }

  /// All bytes.
  ///
  /// - Throws: `StageError`: transient when the store does not answer, permanent when the bytes are gone or damaged.
  public func load() async throws -> Bytes {
    switch storage {
    case .bytes(let bytes): return bytes
    case .record(let record):
      do { return try await record.value() } catch {
        throw error.isTransient || error.kind == .cancelled
          ? StageError.dependencyDown("broker", error.description)
          : StageError.permanent("content.\(error.kind.rawValue)", error.description)
      }
    case .reference(let reference, let store): return try await store.get(reference)
    }
  }
}

/// What a record carries instead of content that is too large for a topic: the digest that names it, and its size.
public struct ContentReference: Sendable, Hashable {
  /// SHA-256 of the bytes, in lower-case hexadecimal: 64 characters.
  public let digest: String
  /// In bytes.
  public let size: Int

  /// A reference to content of `size` bytes with this SHA-256.
  public init(digest: String, size: Int) {
    self.digest = digest
    self.size = size
  }

  /// Reads `sha256:HEX SIZE`, as a header carries it.
  public init?(_ text: String) {
    let parts = text.split(separator: " ")
    guard parts.count == 2, parts[0].hasPrefix("sha256:"), let size = Int(parts[1]), size >= 0 else { return nil }
    let digest = String(parts[0].dropFirst(7))
    guard digest.utf8.count == 64, digest.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
      return nil
    }
    self.init(digest: digest, size: size)
  }
  /// `sha256:HEX SIZE`.
  public var description: String { "sha256:\(digest) \(size)" }
}

/// Keeps content under its SHA-256, each once. A folder, S3.
public protocol ContentStore: Sendable {
  /// Stores the bytes durably, or touches them if they are there already, so that garbage collection leaves them.
  func put(_ bytes: Bytes) async throws -> ContentReference
  /// The bytes, checked against the digest.
  ///
  /// - Throws: `StageError`, see `Content.load`.
  func get(_ reference: ContentReference) async throws -> Bytes
  /// The path of a file that holds the bytes, for those who send them without reading them; nil: they are in no file.
  /// Checked against the digest, unless the same file was within the last ten minutes.
  ///
  /// - Throws: `StageError`, see `Content.load`.
  func file(_ reference: ContentReference) async throws -> String?
  /// Whether it can be used. Asked at the start and by `check --connect`.
  ///
  /// - Throws: `StageError.dependencyDown` with what is wrong, and what to do.
  func probe() async throws
}

extension ContentStore {
  /// There is no file.
  public func file(_ reference: ContentReference) async throws -> String? { nil }
  /// Needs nothing outside.
  public func probe() async throws {}
}

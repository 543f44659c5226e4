import OpenSSL
public import Pipeline
import SQLite

/// A message as it is found: its content may have to be fetched yet, or to be verified.
struct KeptMessage: Sendable {
  enum Content: Sendable {
    /// Verified in this process before.
    case verified(Bytes)
    /// As it is in the database.
    case found(Bytes)
    /// In the store of large content.
    case large
  }
  let prefix: Bytes
  let digest: [UInt8]
  let size: Int
  let content: Content

  var reference: ContentReference { ContentReference(digest: hexadecimal(digest), size: size) }
}

/// A message as it is kept, for those who send it on: our trace headers, then what was received, byte for byte.
public struct RawMessage: Sendable {
  /// What was received.
  public enum Content: Sendable {
    /// In memory.
    case bytes(Bytes)
    /// All of this file, which is never written again; `size` is in bytes.
    case file(path: String, size: Int)
  }

  /// Our trace headers.
  public let prefix: Bytes
  /// What was received.
  public let content: Content
}

extension MailStore {
  static func kept(
    _ id: MessageID, of user: Int64, _ database: Database, _ recent: Monitor<Recent<[UInt8], Bytes>>
  ) throws -> KeptMessage? {
    let name = id.description
    let found = try database.first(
      """
      SELECT prefix, digest, contents.size, contents.id FROM messages JOIN contents ON contents.id = messages.content
      WHERE user=?1 AND messages.id=?2
      """,
      {
        $0.bind(1, user)
        $0.bind(2, name)
      }, { (prefix: Bytes($0.blob(0)), digest: $0.bytes(1), size: Int($0.int(2)), content: $0.int(3)) })
    guard let found else { return nil }
    var content = recent.withLock { $0.find(found.digest) }.map { KeptMessage.Content.verified($0) }
    if content == nil {
      content = try database.first("SELECT bytes FROM contents WHERE id=?1", { $0.bind(1, found.content) }) {
        $0.isNull(0) ? .large : .found(Bytes($0.blob(0)))
      }
    }
    return content.map { KeptMessage(prefix: found.prefix, digest: found.digest, size: found.size, content: $0) }
  }

  /// A message that was found, for those who send it: large content may be left in its file.
  func raw(_ found: KeptMessage, _ id: MessageID) async throws(MailStoreError) -> RawMessage {
    if case .large = found.content {
      do {
        if let path = try await largeContent.file(found.reference) {
          return RawMessage(prefix: found.prefix, content: .file(path: path, size: found.size))
        }
      } catch { throw MailStoreError(error) }
    }
    let (content, share) = try await content(of: found, id)
    return RawMessage(prefix: found.prefix, content: .bytes(content.keeping(share)))
  }

  /// All of a message that was found, in memory.
  func whole(_ found: KeptMessage, _ id: MessageID) async throws(MailStoreError) -> Bytes {
    let (content, share) = try await content(of: found, id)
    guard !found.prefix.isEmpty else { return content.keeping(share) }
    return Bytes(capacity: found.prefix.count + content.count) { output in
      found.prefix.withUnsafeBytes { output.copyMemory(from: $0) }
      let rest = UnsafeMutableRawBufferPointer(rebasing: output[found.prefix.count...])
      content.withUnsafeBytes { rest.copyMemory(from: $0) }
      return output.count
    }.keeping(share)
  }

  /// The content, verified, and the memory that it takes if it is large.
  private func content(
    of found: KeptMessage, _ id: MessageID
  ) async throws(MailStoreError) -> (Bytes, LargeMemory.Share?) {
    switch found.content {
    case .verified(let bytes): return (bytes, nil)
    case .found(let bytes):
      guard bytes.count == found.size, SHA256.hash(bytes).bytes == found.digest else {
        throw MailStoreError(
          .damaged, "mail store: the content of \(id) is damaged: its SHA-256 differs from the stored")
      }
      recent.withLock { $0.keep(bytes, found.digest, count: bytes.count) }
      return (bytes, nil)
    case .large:
      guard let share = largeMemory.share(for: found.size) else {
        throw MailStoreError(.busy, "mail store: too much large mail is being read to take \(found.size) bytes more")
      }
      do { return (try await largeContent.get(found.reference), share) } catch { throw MailStoreError(error) }
    }
  }
}

import OpenSSL
import Pipeline
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
}

extension MailStore {
  static func kept(
    _ id: MessageID, of user: Int64, _ database: Database, _ recent: RecentContent
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
    var content = recent.find(found.digest).map { KeptMessage.Content.verified($0) }
    if content == nil {
      content = try database.first("SELECT bytes FROM contents WHERE id=?1", { $0.bind(1, found.content) }) {
        $0.isNull(0) ? .large : .found(Bytes($0.blob(0)))
      }
    }
    return content.map { KeptMessage(prefix: found.prefix, digest: found.digest, size: found.size, content: $0) }
  }

  /// All of a message that was found, after its content was verified.
  func whole(_ found: KeptMessage?, _ id: MessageID) async throws(MailStoreError) -> Bytes? {
    guard let found else { return nil }
    let content: Bytes
    switch found.content {
    case .verified(let bytes): content = bytes
    case .found(let bytes):
      guard bytes.count == found.size, SHA256.hash(bytes).bytes == found.digest else {
        throw MailStoreError(
          .damaged, "mail store: the content of \(id) is damaged: its SHA-256 differs from the stored")
      }
      recent.keep(bytes, found.digest)
      content = bytes
    case .large:
      do {
        content = try await largeContent.get(ContentReference(digest: hexadecimal(found.digest), size: found.size))
      } catch { throw MailStoreError(error) }
    }
    guard !found.prefix.isEmpty else { return content }
    return Bytes(capacity: found.prefix.count + content.count) { output in
      found.prefix.withUnsafeBytes { output.copyMemory(from: $0) }
      let rest = UnsafeMutableRawBufferPointer(rebasing: output[found.prefix.count...])
      content.withUnsafeBytes { rest.copyMemory(from: $0) }
      return output.count
    }
  }
}

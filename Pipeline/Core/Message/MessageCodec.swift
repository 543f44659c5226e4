/// Turns records into messages and back. The only place that knows the wire form's version.
public enum MessageCodec {
  /// The version that this build writes, and the newest that it reads.
  public static let version = 1
  static let versionText = "1"

  /// Why a record is not a message.
  public enum DecodingFailure: Error, Sendable, Equatable {
    /// Written by a newer version: the partition has to wait for a newer build, nothing may be thrown away.
    case newerVersion(Int)
    /// Not a message: the reason for the dead letter.
    case malformed(String)
  }

  /// Reads a record.
  ///
  /// - Parameter store: where content that travels by reference is kept.
  public static func decode(_ record: Record, store: (any ContentStore)?) throws(DecodingFailure) -> Message {
    let headers: Headers
    do { headers = try record.headers() } catch { throw .malformed(error.message) }
    guard let version = headers.int(HeaderName.version) else { throw .malformed("no \(HeaderName.version) header") }
    guard version <= Self.version else { throw .newerVersion(version) }
    guard let text = headers.bytes(HeaderName.id), let id = MessageID(utf8: text) else {
      throw .malformed("no \(HeaderName.id) header with a UUID")
    }
    var content = Content(.record(record))
    if let reference = headers[HeaderName.reference] {
      guard let reference = ContentReference(reference) else { throw .malformed("bad \(HeaderName.reference) header") }
      guard let store else { throw .malformed("content by reference, but no content store is configured") }
      content = Content(.reference(reference, store))
    }
    return Message(id: id, key: record.key, content: content, headers: headers)
  }

  /// Makes the record of a message.
  ///
  /// - Parameter carrier: the record whose value carries content by reference; such a record's own value is empty.
  static func encode(_ message: Message, topic: String) -> OutgoingRecord {
    var headers = message.headers
    let value: OutgoingRecord.Value
    switch message.content.storage {
    case .bytes(let bytes):
      headers.remove(HeaderName.reference)
      value = .bytes(bytes)
    case .record(let record):
      headers.remove(HeaderName.reference)
      value = .same(record)
    case .reference(let reference, _):
      headers.set(HeaderName.reference, reference.description.utf8)
      value = .bytes(.empty)
    }
    return OutgoingRecord(topic: topic, key: message.key, headers: headers, value: value)
  }
}

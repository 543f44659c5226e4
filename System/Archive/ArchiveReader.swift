import CArchive

/// Reads an archive that is in memory: zip, 7-Zip, rar, tar, cab and LHA, and a single file packed by gzip, bzip2, xz,
/// lzma, zstd or compress (libarchive). Nothing touches the disk, and no other program is started.
public final class ArchiveReader {
  /// What is in an archive.
  public struct Entry: Sendable, Hashable {
    /// Its path, as the archive has it; empty if it cannot be read.
    public let name: String
    /// Whether it is a file with content, and not a folder or a link.
    public let isFile: Bool
    /// Whether it cannot be read without a password.
    public let isEncrypted: Bool
  }

  private let raw: OpaquePointer
  private var isPacked = false

  /// Gives `body` a reader of `bytes`, at the first entry; nil: it is no archive of these kinds.
  public static func read<R>(
    _ bytes: UnsafeRawBufferPointer, _ body: (ArchiveReader) throws(ArchiveError) -> R
  ) throws(ArchiveError) -> R? {
    guard let reader = ArchiveReader(), reader.open(bytes) else { return nil }
    return try body(reader)
  }

  private init?() {
    guard let raw = archive_read_new() else { return nil }
    self.raw = raw
    // One by one: `…_all` brings filters that start programs, and formats that are nobody's attachment.
    for support in [
      archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz,
      archive_read_support_filter_lzma, archive_read_support_filter_zstd, archive_read_support_filter_compress,
      archive_read_support_format_zip, archive_read_support_format_7zip, archive_read_support_format_rar,
      archive_read_support_format_rar5, archive_read_support_format_tar, archive_read_support_format_gnutar,
      archive_read_support_format_cab, archive_read_support_format_lha, archive_read_support_format_raw,
    ] { _ = support(raw) }
  }

  deinit { archive_read_free(raw) }

  private func open(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !bytes.isEmpty, archive_read_open_memory(raw, bytes.baseAddress, bytes.count) == ARCHIVE_OK else {
      return false
    }
    // The first filter is that of the archive itself; the last one always says "none".
    isPacked = archive_filter_count(raw) > 1
    return true
  }

  /// The next entry; nil: there is none. At the first call also nil for what is no archive at all.
  ///
  /// - Throws: `damaged`.
  public func next() throws(ArchiveError) -> Entry? {
    var entry: OpaquePointer?
    switch archive_read_next_header(raw, &entry) {
    case ARCHIVE_OK, ARCHIVE_WARN: break
    case ARCHIVE_EOF: return nil
    default: throw ArchiveError(raw)
    }
    // "raw" takes anything for a file: it is meant for what was packed.
    if archive_format(raw) == ARCHIVE_FORMAT_RAW, !isPacked { return nil }
    let name = archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry)
    return Entry(
      name: name.map { String(cString: $0) } ?? "", isFile: archive_entry_filetype(entry) == S_IFREG,
      isEncrypted: archive_entry_is_encrypted(entry) != 0)
  }

  /// The content of the entry, at most `limit` bytes: one more than was asked for before says that there is more.
  ///
  /// - Throws: `damaged`.
  public func content(limit: Int) throws(ArchiveError) -> [UInt8] {
    var content: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: min(max(1, limit), 64 * 1024))
    while content.count < limit {
      let wanted = min(chunk.count, limit - content.count)
      let count = chunk.withUnsafeMutableBytes { archive_read_data(raw, $0.baseAddress, wanted) }
      if count == 0 { break }
      guard count > 0 else {
        if count == Int(ARCHIVE_RETRY) { continue }
        throw ArchiveError(raw)
      }
      content.append(contentsOf: chunk[0..<min(count, wanted)])
    }
    return content
  }
}

/// An archive cannot be read on.
public struct ArchiveError: Error, Sendable, CustomStringConvertible {
  /// What libarchive says.
  public let description: String

  init(_ raw: OpaquePointer) {
    description = archive_error_string(raw).map { String(cString: $0) } ?? "damaged"
  }
}

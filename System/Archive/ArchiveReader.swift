import CArchive

/// Reads an archive that is in memory: zip, 7-Zip, rar, tar, cab and LHA, or a single file packed by gzip, bzip2, xz,
/// lzma, zstd or compress (libarchive). Nothing touches the disk, and no other program is started.
///
/// One layer at a time: a tar packed by gzip is a packed file, which holds an archive. So whoever reads sees, and can
/// bound, what every layer unpacks to; libarchive alone would go through up to 25 of them before it gave a byte.
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
  /// Of 64 KiB, made when it is first needed.
  private var chunk: [UInt8] = []

  /// Gives `body` a reader of `bytes`, at the first entry; nil: it is nothing of these kinds.
  public static func read<R, E: Error>(
    _ bytes: UnsafeRawBufferPointer, _ body: (ArchiveReader) throws(E) -> R
  ) throws(E) -> R? {
    guard let reader = ArchiveReader(), reader.open(bytes) else { return nil }
    return try body(reader)
  }

  private init?() {
    guard let raw = archive_read_new() else { return nil }
    self.raw = raw
  }

  deinit { archive_read_free(raw) }

  private func open(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !bytes.isEmpty else { return false }
    if let filter = Self.filter(of: bytes) {
      // Named, it is the only one: none is looked for in what it gives.
      guard archive_read_append_filter(raw, filter) == ARCHIVE_OK, archive_read_support_format_raw(raw) == ARCHIVE_OK
      else { return false }
    } else {
      // One by one: `…_all` brings formats that are nobody's attachment.
      for support in [
        archive_read_support_format_zip, archive_read_support_format_7zip, archive_read_support_format_rar,
        archive_read_support_format_rar5, archive_read_support_format_tar, archive_read_support_format_gnutar,
        archive_read_support_format_cab, archive_read_support_format_lha,
      ] { _ = support(raw) }
    }
    return archive_read_open_memory(raw, bytes.baseAddress, bytes.count) == ARCHIVE_OK
  }

  /// How a single file is packed, by how it begins; nil: it is not.
  private static func filter(of bytes: UnsafeRawBufferPointer) -> Int32? {
    let magics: [(Int32, [UInt8])] = [
      (ARCHIVE_FILTER_GZIP, [0x1F, 0x8B, 8]), (ARCHIVE_FILTER_BZIP2, [0x42, 0x5A, 0x68]),
      (ARCHIVE_FILTER_XZ, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]), (ARCHIVE_FILTER_ZSTD, [0x28, 0xB5, 0x2F, 0xFD]),
      (ARCHIVE_FILTER_COMPRESS, [0x1F, 0x9D]), (ARCHIVE_FILTER_LZMA, [0x5D, 0, 0]),
    ]
    return magics.first { bytes.starts(with: $0.1) }?.0
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
    // What was packed alone has no name of its own but the one that "raw" gives all.
    let name =
      archive_format(raw) == ARCHIVE_FORMAT_RAW
      ? nil : archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry)
    return Entry(
      name: name.map { String(cString: $0) } ?? "", isFile: archive_entry_filetype(entry) == S_IFREG,
      isEncrypted: archive_entry_is_encrypted(entry) != 0)
  }

  /// The content of the entry, at most `limit` bytes: one more than was asked for before says that there is more.
  ///
  /// - Parameter mayGoOn: asked about every 64 KiB; with false, what was read so far is given.
  /// - Throws: `damaged`.
  public func content(limit: Int, while mayGoOn: () -> Bool = { true }) throws(ArchiveError) -> [UInt8] {
    var content: [UInt8] = []
    if chunk.isEmpty { chunk = [UInt8](repeating: 0, count: 64 * 1024) }
    while content.count < limit, mayGoOn() {
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

public import Pipeline
import SQLite

/// Where mailboxes live: users, folders and messages in `FOLDER/mail.db`, large content in `FOLDER/content`.
///
/// Several processes may have it open: gateways read, workers write, the command line adds users. Every call that
/// changes something returns once the change is durable; calls that wait at the same moment share one commit. All
/// blocking work is done on threads of the store's own: one that writes, one that reads.
public final class MailStore: Sendable {
  /// Where the work is done.
  public enum Mode: Sendable {
    /// On two threads of the store.
    case threads
    /// By the caller, who is blocked meanwhile: for tests and short commands.
    case inline
  }

  let writer: DatabaseThread
  let reader: DatabaseThread
  let clock: any PipelineClock
  let largeContent: any ContentStore
  /// Content that was verified in this process, by its digest: it is neither read nor hashed again.
  let recent = Monitor(Recent<[UInt8], Bytes>())
  let largeMemory: LargeMemory

  /// Content beyond this many bytes is kept as a file, the rest in the database.
  public static let inlineLimit = 64 * 1024

  /// The store in the data folder `folder`. Nothing is opened before it is used: see `probe`.
  ///
  /// - Parameters:
  ///   - contentStore: where large content is kept; `FOLDER/content` unless given. It may be the one that the
  ///     pipeline keeps content by reference in: then storing such content only touches it.
  ///   - largeMemory: bytes of memory that large content may take while it is read, all together, and what is made of it.
  public init(
    folder: String, mode: Mode = .threads, clock: any PipelineClock = SystemClock.shared,
    contentStore: (any ContentStore)? = nil, largeMemory: Int = 512 << 20
  ) {
    self.clock = clock
    self.largeMemory = LargeMemory(limit: largeMemory)
    largeContent = contentStore ?? FolderContentStore(folder: folder + "/content")
    (writer, reader) = DatabaseThread.pair(
      folder: folder, file: "mail.db", isInline: mode == .inline, prepare: Schema.prepare)
  }

  deinit {
    writer.abandon()
    reader.abandon()
  }

  /// Opens the store if it is not open, creates it if there is none, and takes the write lock once.
  ///
  /// - Throws: `newerVersion`, `unavailable`, `busy`, `full`, `damaged`.
  public func probe() async throws(MailStoreError) {
    _ = try await writer.run { database in try database.userVersion() }
    _ = try await reader.run { database in try database.int("SELECT count(*) FROM users WHERE id=0") }
  }

  /// Counts `size` bytes of memory to what large content takes, for as long as somebody has what this returns.
  package func holdMemory(_ size: Int) -> any AnyObject & Sendable { largeMemory.hold(size) }

  /// Ends what was begun, and closes the database. Later calls are refused.
  public func close() async {
    await writer.close()
    await reader.close()
  }
}

import Glibc
public import Pipeline
import Synchronization

/// The journal of what a worker has in hand: a small file, mapped into memory, that outlives the worker.
///
/// Written for every message, so it costs a lock and a copy, and no system call. The supervisor reads it from outside,
/// while the worker lives (to find what is past its deadline) and after it died (to know what was in hand).
///
/// Layout: slots of 256 bytes: in use (1 byte), length of the group (1), the id (36), the deadline in microseconds
/// (8, at 40), the group (up to 200, at 56).
public final class InHandFile: InHandJournal, @unchecked Sendable {
  // Safe to share: a slot belongs to whoever took it from `free`, under its lock, until it is given back.
  private static let slotSize = 256
  private static let slots = 1024
  private let memory: UnsafeMutableRawPointer
  private let free: Mutex<[Int]>

  /// One message in hand.
  public struct Entry: Sendable, Hashable {
    /// The consumer group of its stage.
    public let group: String
    /// Its id.
    public let id: MessageID
    /// When it should be over.
    public let deadline: Timestamp
  }

  /// Creates or empties the file at `path`.
  ///
  /// - Throws: `ServiceError` when there is no room for it (256 KiB), or it may not be written.
  public init(creating path: String) throws(ServiceError) {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system("open", path) }
    defer { close(descriptor) }
    let size = Self.slotSize * Self.slots
    // Allocated in full: a write to a mapped page that the disk has no room for would kill the worker.
    let code = posix_fallocate(descriptor, 0, size)
    guard code == 0 else { throw .system("allocate", path, code: code) }
    let mapped = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let mapped, mapped != MAP_FAILED else { throw .system("map", path) }
    memory = mapped
    memset(memory, 0, size)
    free = Mutex(Array((0..<Self.slots).reversed()))
  }

  /// See `InHandJournal`; -1 when every slot is taken: then the message is not noted.
  public func begin(_ group: String, _ id: MessageID, deadline: Timestamp) -> Int {
    guard let slot = free.withLock({ $0.popLast() }) else { return -1 }
    let start = memory + slot * Self.slotSize
    var text = id.description
    text.withUTF8 { bytes in
      guard let base = bytes.baseAddress else { return }
      start.advanced(by: 2).copyMemory(from: base, byteCount: min(36, bytes.count))
    }
    start.storeBytes(of: deadline.microseconds, toByteOffset: 40, as: Int64.self)
    var group = group
    group.withUTF8 { bytes in
      guard let base = bytes.baseAddress else { return }
      start.storeBytes(of: UInt8(min(200, bytes.count)), toByteOffset: 1, as: UInt8.self)
      start.advanced(by: 56).copyMemory(from: base, byteCount: min(200, bytes.count))
    }
    start.storeBytes(of: 1, as: UInt8.self)
    return slot
  }

  /// See `InHandJournal`.
  public func end(_ ticket: Int) {
    guard ticket >= 0, ticket < Self.slots else { return }
    memory.storeBytes(of: 0, toByteOffset: ticket * Self.slotSize, as: UInt8.self)
    free.withLock { $0.append(ticket) }
  }

  /// What the file at `path` says now; empty if there is none.
  public static func read(_ path: String) -> [Entry] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: slotSize * slots)
    let count = pread(descriptor, &bytes, bytes.count, 0)
    guard count > 0 else { return [] }
    var entries: [Entry] = []
    for start in stride(from: 0, to: count - slotSize + 1, by: slotSize) where bytes[start] == 1 {
      guard let id = MessageID(utf8: bytes[(start + 2)..<(start + 38)]) else { continue }
      let deadline = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: start + 40, as: Int64.self) }
      let group = bytes[(start + 56)..<(start + 56 + min(200, Int(bytes[start + 1])))]
      entries.append(
        Entry(
          group: String(decoding: group, as: UTF8.self), id: id, deadline: Timestamp(microseconds: deadline)))
    }
    return entries
  }
}

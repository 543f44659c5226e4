import Glibc
import Pipeline

/// Listens for commits of other processes on the same folder.
///
/// Each process writes to a file of its own after a commit and watches those of the others (inotify): a process that is
/// alone is never woken by itself. A watch on SQLite's log would fire before the commit is visible. Where the system has
/// no inotify left to give (`fs.inotify.max_user_instances`), it looks at the files every few milliseconds instead.
final class Bell: Sendable {
  private let inotify: Int32
  private let stopPipe: (read: Int32, write: Int32)
  private let isStopped = Monitor(false)
  /// How often to look when nothing tells, in milliseconds.
  private static let pollMilliseconds: Int32 = 10

  /// Starts to listen; nil if the system has not even a pipe left, and then consumers look for themselves every few
  /// seconds.
  init?(folder: DataFolder, usesInotify: Bool = true, _ ring: @escaping @Sendable () -> Void) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return nil }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    stopPipe = (ends[0], ends[1])
    var watcher = usesInotify ? inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC)) : -1
    if watcher >= 0, inotify_add_watch(watcher, folder.bells, UInt32(IN_CREATE | IN_DELETE)) < 0 {
      close(watcher)
      watcher = -1
    }
    inotify = watcher
    let (bells, own) = (folder.bells, folder.bellName)
    startThread {
      if self.inotify < 0 || !self.listen(bells, own, ring) { self.look(bells, own, ring) }
      if self.inotify >= 0 { close(self.inotify) }
      close(self.stopPipe.read)
    }
  }

  /// Ends listening.
  func stop() {
    let isFirst = isStopped.withLock { stopped in
      defer { stopped = true }
      return !stopped
    }
    if isFirst { close(stopPipe.write) }
  }

  // MARK: Told by the system

  /// Returns true when it was stopped, false when a file cannot be watched.
  private func listen(_ bells: String, _ own: String, _ ring: @Sendable () -> Void) -> Bool {
    guard watch(bells, own) else { return false }
    ring()
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      var files = [
        pollfd(fd: inotify, events: Int16(POLLIN), revents: 0), pollfd(fd: stopPipe.read, events: 0, revents: 0),
      ]
      if poll(&files, 2, -1) < 0, errno != EINTR { return false }
      if files[1].revents != 0 { return true }
      guard files[0].revents != 0 else { continue }
      var isNew = false
      while true {
        let count = read(inotify, &buffer, buffer.count)
        guard count > 0 else { break }
        if Self.hasNewFile(buffer.prefix(count)) { isNew = true }
      }
      // A new process may have rung before its bell was watched: watch first, then look.
      if isNew, !watch(bells, own) { return false }
      ring()
    }
  }

  /// False if one that is still there cannot be watched.
  private func watch(_ bells: String, _ own: String) -> Bool {
    for name in DataFolder.names(in: bells) where name != own {
      if inotify_add_watch(inotify, "\(bells)/\(name)", UInt32(IN_MODIFY)) < 0, errno != ENOENT { return false }
    }
    return true
  }

  /// Whether one of the events (inotify(7): watch, mask, cookie, length of the name, name) tells of a new file.
  private static func hasNewFile(_ events: ArraySlice<UInt8>) -> Bool {
    events.withUnsafeBytes { bytes in
      var at = 0
      while at + 16 <= bytes.count {
        let mask = bytes.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self)
        if mask & UInt32(IN_CREATE | IN_Q_OVERFLOW) != 0 { return true }
        at += 16 + Int(bytes.loadUnaligned(fromByteOffset: at + 12, as: UInt32.self))
      }
      return false
    }
  }

  // MARK: Looking

  private func look(_ bells: String, _ own: String, _ ring: @Sendable () -> Void) {
    var seen: [String: UInt64]?
    while true {
      var found: [String: UInt64] = [:]
      for name in DataFolder.names(in: bells) where name != own { found[name] = DataFolder.rung("\(bells)/\(name)") }
      if found != seen { ring() }
      seen = found
      var file = pollfd(fd: stopPipe.read, events: 0, revents: 0)
      if poll(&file, 1, Self.pollMilliseconds) < 0, errno != EINTR { return }
      if file.revents != 0 { return }
    }
  }
}

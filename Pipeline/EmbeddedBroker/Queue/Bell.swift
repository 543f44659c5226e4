import Glibc
import Pipeline

/// Listens for commits of other processes on the same folder.
///
/// Each process writes to a file of its own after a commit and watches those of the others (inotify): a process that is
/// alone is never woken by itself. A watch on SQLite's log would fire before the commit is visible.
final class Bell: Sendable {
  private let inotify: Int32
  private let stopPipe: (read: Int32, write: Int32)
  private let state = Monitor(false)

  /// Starts to listen; nil if the system does not let it, and then consumers look for themselves every few seconds.
  init?(folder: DataFolder, _ ring: @escaping @Sendable () -> Void) {
    inotify = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    var ends: [Int32] = [-1, -1]
    guard inotify >= 0, pipe(&ends) == 0 else {
      if inotify >= 0 { close(inotify) }
      return nil
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    stopPipe = (ends[0], ends[1])
    inotify_add_watch(inotify, folder.bells, UInt32(IN_CREATE | IN_DELETE))
    let (bells, own) = (folder.bells, folder.bellName)
    startThread { self.listen(bells, own, ring) }
  }

  /// Ends listening.
  func stop() {
    let isFirst = state.withLock { stopped in
      defer { stopped = true }
      return !stopped
    }
    if isFirst { close(stopPipe.write) }
  }

  private func listen(_ bells: String, _ own: String, _ ring: @Sendable () -> Void) {
    watch(bells, own)
    ring()
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      var files = [
        pollfd(fd: inotify, events: Int16(POLLIN), revents: 0), pollfd(fd: stopPipe.read, events: 0, revents: 0),
      ]
      if poll(&files, 2, -1) < 0, errno != EINTR { break }
      if files[1].revents != 0 { break }
      guard files[0].revents != 0 else { continue }
      var isNew = false
      while true {
        let count = read(inotify, &buffer, buffer.count)
        guard count > 0 else { break }
        if Self.hasNewFile(buffer.prefix(count)) { isNew = true }
      }
      // A new process may have rung before its bell was watched: watch first, then look.
      if isNew { watch(bells, own) }
      ring()
    }
    close(inotify)
    close(stopPipe.read)
  }

  private func watch(_ bells: String, _ own: String) {
    for name in DataFolder.names(in: bells) where name != own {
      inotify_add_watch(inotify, "\(bells)/\(name)", UInt32(IN_MODIFY))
    }
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
}

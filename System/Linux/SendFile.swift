import CLinux
import Glibc

/// Moves up to `count` bytes of a file, from `offset` on, to a socket, without a copy; 0 if the file ends before.
///
/// Throws what sendfile(2) says, as EAGAIN when the socket takes nothing now. Where SIGPIPE is not blocked or ignored, a
/// peer that is gone ends the process.
public func sendFile(_ file: Int32, to socket: Int32, from offset: Int, count: Int) throws(Errno) -> Int {
  var offset = off_t(offset)
  let sent = clinux_sendfile(socket, file, &offset, count)
  guard sent >= 0 else { throw .last }
  return sent
}

/// How many bytes the kernel may hold for a TCP socket that were not sent yet; beyond it the socket is not writable.
public func limitUnsent(_ socket: Int32, bytes: Int32) {
  var limit = bytes
  setsockopt(socket, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &limit, socklen_t(MemoryLayout<Int32>.size))
}

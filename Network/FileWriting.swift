import Glibc
import Linux

extension Connection {
  /// Sends these bytes of a file behind what was written; returns once the kernel has them.
  ///
  /// In plain they go from the file to the socket without a copy, by TLS through a buffer of 16 KiB. To read the file blocks the loop for as long as the
  /// disk takes. Throws like `write`, and `truncated` if the file has become shorter.
  public func write(file descriptor: Int32, _ range: Range<Int>) async throws(NetworkError) {
    // What fits into one packet's worth of copying goes out together with what was written.
    guard range.count > Self.highWaterMark, tls == nil else { return try await copy(descriptor, range) }
    try await flush(isMoreToCome: true)
    // What the kernel has yet to send are pages of the file that it keeps anyway, and no copies.
    limitUnsent(bytes: Self.fileSlice)
    defer { limitUnsent() }
    var rest = range
    isSending = true
    defer { isSending = false }
    while !rest.isEmpty {
      let slice = Swift.min(rest.count, Self.fileSlice)
      switch try attempt({ transport.trySendFile(descriptor, rest.lowerBound, slice) }) {
      case .done(0): throw .truncated
      case .done(let count):
        rest = (rest.lowerBound + count)..<rest.upperBound
        // A peer that takes all at once never lets us wait: the others of the loop have their turn.
        if !rest.isEmpty { await Task.yield() }
      case .mustWait(let needs):
        wake(.writing, .ready)  // a reader that waited to send what was written before
        try await waitToSend(needs)
      }
    }
  }

  /// Has the kernel take at most so much that it cannot send yet: more would only be memory, for a peer that is slower.
  func limitUnsent(bytes: Int = 128 * 1024) {
    Linux.limitUnsent(transport.descriptor, bytes: Int32(clamping: bytes))
  }

  /// At most handed to the kernel at once.
  private static let fileSlice = 2 * 1024 * 1024

  private func copy(_ descriptor: Int32, _ range: Range<Int>) async throws(NetworkError) {
    var rest = range
    var slices = 0
    while !rest.isEmpty {
      let wanted = Swift.min(rest.count, Self.highWaterMark)
      let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
        count = Swift.max(0, pread(descriptor, buffer.baseAddress, wanted, off_t(rest.lowerBound)))
      }
      guard !bytes.isEmpty else { throw .truncated }
      try await write(bytes)
      rest = (rest.lowerBound + bytes.count)..<rest.upperBound
      slices += 1
      if slices & 15 == 0 { await Task.yield() }
    }
  }
}

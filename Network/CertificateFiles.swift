import Glibc
import Linux
public import OpenSSL
import Synchronization

/// A server's certificate and key in PEM files, taken anew when the files change: connections that come later get the new
/// one. A broken or half-written one is reported, and the old one stays.
public final class CertificateFiles: Sendable {
  /// What an operator should know: a sentence that names the file.
  public typealias Report = @Sendable (String) -> Void

  private struct State {
    var context: TLSContext
    var stamps: [Stamp?]
    var lookedAt: Int
  }
  private let certificate: String
  private let key: String
  private let protocols: [String]
  private let report: Report
  private let state: Mutex<State>

  /// Reads the files.
  ///
  /// - Parameters:
  ///   - certificate: the PEM file with the certificate and its chain.
  ///   - key: the PEM file with its key; may be the same.
  ///   - protocols: ALPN names, the one that is liked best first; none: whatever a client offers is not looked at.
  ///   - report: is told what is wrong without being fatal: a certificate that has expired or does so within a week, a
  ///     key that others can read, and new files that cannot be used.
  /// - Throws: what is wrong with which file.
  public init(
    certificate: String, key: String, protocols: [String] = [], report: @escaping Report
  ) throws(OpenSSLError) {
    (self.certificate, self.key, self.protocols, self.report) = (certificate, key, protocols, report)
    let stamps = [Stamp(certificate), Stamp(key)]  // before they are read: what changes meanwhile is seen next time
    let context = try TLSContext.server(certificate: certificate, key: key, protocols: protocols)
    state = Mutex(State(context: context, stamps: stamps, lookedAt: Self.now))
    warn(context)
  }

  /// For a new connection. Looks at the files, at most once a second.
  public var current: TLSContext {
    let now = Self.now
    return state.withLock { state in
      guard state.lookedAt != now else { return state.context }
      state.lookedAt = now
      let stamps = [Stamp(certificate), Stamp(key)]
      guard stamps != state.stamps else { return state.context }
      state.stamps = stamps
      do throws(OpenSSLError) {
        state.context = try TLSContext.server(certificate: certificate, key: key, protocols: protocols)
        report("the certificate in \(certificate) was taken anew")
        warn(state.context)
      } catch {
        report("the old certificate stays, since the new one cannot be used: \(error)")
      }
      return state.context
    }
  }

  private func warn(_ context: TLSContext) {
    if let left = context.secondsLeft {
      if left <= 0 {
        report("the certificate in \(certificate) has expired")
      } else if left < 7 * 86_400 {
        report("the certificate in \(certificate) expires in \(left / 86_400) days")
      }
    }
    if Stamp(key)?.isReadByOthers == true { report("the key in \(key) can be read by others: chmod o= \(key)") }
  }

  /// Seconds of a clock that is never set back.
  private static var now: Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
    return time.tv_sec
  }

  /// What is different when a file was written or replaced.
  private struct Stamp: Equatable {
    let device: UInt
    let inode: UInt
    let size: Int
    let seconds: Int
    let nanoseconds: Int
    let isReadByOthers: Bool

    init?(_ path: String) {
      var found = stat()
      guard stat(path, &found) == 0 else { return nil }
      (device, inode, size) = (found.st_dev, found.st_ino, found.st_size)
      (seconds, nanoseconds) = (found.st_mtim.tv_sec, found.st_mtim.tv_nsec)
      isReadByOthers = found.st_mode & 0o004 != 0
    }
  }
}

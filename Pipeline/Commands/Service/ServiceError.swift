import Glibc

/// Why a command or the service cannot go on: what happened, what to do, and the exit code that says so.
public struct ServiceError: Error, Sendable, CustomStringConvertible {
  /// Exit code, after sysexits.h.
  public let code: ExitCode
  /// What happened.
  public let message: String
  /// What to do about it.
  public let hint: String?

  /// Why it cannot go on.
  public init(_ code: ExitCode, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  /// A system call on a file failed.
  static func system(_ what: String, _ path: String, code: Int32 = errno) -> ServiceError {
    let text = String(cString: strerror(code))
    let message = "cannot \(what) \(path): \(text)"
    switch code {
    case EACCES, EPERM:
      return ServiceError(.noPermission, message, hint: "it must belong to, or be writable for, user \(getuid())")
    case ENOSPC, EDQUOT: return ServiceError(.ioError, message, hint: "free some disk space")
    default: return ServiceError(.ioError, message)
    }
  }

  /// The message, and the hint behind it.
  public var description: String { hint.map { "\(message)\n  hint: \($0)" } ?? message }
}

/// Exit codes that scripts rely on, after sysexits.h.
public enum ExitCode: Int32, Sendable {
  /// Done.
  case ok = 0
  /// `plan --detailed-exitcode`: there are changes.
  case changes = 2
  /// Wrong usage.
  case usage = 64
  /// Bad input data.
  case dataError = 65
  /// A service is away.
  case unavailable = 69
  /// Our own fault.
  case software = 70
  /// Something cannot be created.
  case cannotCreate = 73
  /// Input or output failed.
  case ioError = 74
  /// Try again later.
  case temporary = 75
  /// Not permitted.
  case noPermission = 77
  /// A bad topology or configuration.
  case config = 78
}

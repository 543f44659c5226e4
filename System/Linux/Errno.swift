import Glibc

/// What a system call answered when it failed.
public struct Errno: Error, Equatable, Sendable, CustomStringConvertible {
  /// The number, as in errno(3).
  public let code: Int32

  /// Wraps a number.
  public init(code: Int32) {
    self.code = code
  }

  /// The failure of the system call that this thread made last.
  public static var last: Errno { Errno(code: errno) }

  /// The system's text for it, as "Address already in use".
  public var text: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
      guard let start = buffer.baseAddress, strerror_r(code, start, buffer.count) == 0 else {
        return "error \(code)"
      }
      return String(cString: start)
    }
  }

  /// Text and number.
  public var description: String { "\(text) (errno \(code))" }
}

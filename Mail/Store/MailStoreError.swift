import OpenSSL
public import Pipeline
import SQLite

/// What the mailbox store refused.
public struct MailStoreError: Error, Sendable, CustomStringConvertible {
  /// The classes that callers treat differently.
  public enum Kind: String, Sendable, Hashable {
    /// The database cannot be opened, read or written at the moment.
    case unavailable
    /// Somebody else holds its lock, or too much waits for it.
    case busy
    /// No room on the disk.
    case full
    /// The database, or content, is damaged.
    case damaged
    /// A newer version of this program has written it.
    case newerVersion = "newer-version"
    /// It was closed.
    case closed
    /// What was asked for does not exist, or is not allowed to.
    case invalid
  }

  /// The class.
  public let kind: Kind
  /// What happened, where, and what to do.
  public let description: String

  /// An error of the store.
  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  init(_ error: SQLiteError) {
    let (kind, hint): (Kind, String) =
      if error.isFull { (.full, "; make room on the disk") } else if error.isBusy {
        (.busy, "; another process holds its lock")
      } else if error.isCorrupt { (.damaged, "; restore it from a backup") } else if error.cannotOpen {
        (.unavailable, "; does its folder exist, and may this user write there?")
      } else { (.unavailable, "") }
    self.init(kind, "mail store: \(error)\(hint)")
  }

  init(_ error: any Error) {
    switch error {
    case let error as MailStoreError: self = error
    case let error as SQLiteError: self.init(error)
    case let error as StageError:
      self.init(error.reason.hasPrefix("content.") ? .damaged : .unavailable, error.description)
    case let error as OpenSSLError: self.init(.unavailable, error.description)
    default: self.init(.unavailable, "mail store: \(error)")
    }
  }

  /// What the runtime makes of it: everything but `invalid` means that the store is away, so that mail waits.
  public var stageError: StageError {
    kind == .invalid
      ? .permanent("mail-store.invalid", description) : .dependencyDown("mail store", description)
  }
}

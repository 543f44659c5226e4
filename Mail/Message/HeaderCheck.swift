/// Whether a header section is one that we pass on.
public struct HeaderCheck: Sendable, Hashable {
  /// How much of the standard is asked for.
  public enum Level: String, Sendable, Hashable, CaseIterable {
    /// Nothing is refused.
    case off
    /// What two programs could read differently, or cannot be shown: NUL, bare CR, no fields, beyond the limits.
    case tolerant
    /// All that RFC 5322 sections 2.2 and 3.6 ask for.
    case strict
  }

  /// Why a header section is refused.
  public struct Problem: Sendable, Hashable {
    /// A stable code, such as `syntax.header`.
    public let reason: String
    /// What was found, where.
    public let message: String
  }

  /// How much is asked for.
  public var level: Level
  /// Whether bytes above 127 may stand in it (RFC 6532 allows UTF-8; much older mail has other charsets).
  public var allowsEightBit: Bool

  /// A check.
  public init(level: Level = .tolerant, allowsEightBit: Bool = true) {
    self.level = level
    self.allowsEightBit = allowsEightBit
  }

  /// The first problem; nil: there is none.
  public func problem(_ header: HeaderSection) -> Problem? {
    let defects = header.defects
    let line = header.firstDefectLine.map { " (line \($0))" } ?? ""
    if !allowsEightBit, defects.contains(.eightBit) {
      return Problem(reason: "header.8bit", message: "the header section has bytes above 127\(line)")
    }
    guard level != .off else { return nil }
    func syntax(_ message: String) -> Problem { Problem(reason: "syntax.header", message: message) }
    if defects.contains(.beyondLimits) {
      return Problem(reason: "header.too-large", message: "more header fields or bytes than are allowed\(line)")
    }
    if header.count == 0 { return syntax("there is no header field") }
    if defects.contains(.nul) { return syntax("a NUL byte in the header section\(line)") }
    if defects.contains(.bareCR) { return syntax("a CR without LF in the header section\(line)") }
    return level == .strict ? strictProblem(header, line) : nil
  }

  private func strictProblem(_ header: HeaderSection, _ line: String) -> Problem? {
    let found: [(HeaderSection.Defects, String)] = [
      (.bareLF, "a line that ends in LF without CR"), (.strayLine, "a line before the first header field"),
      (.spaceBeforeColon, "space before a colon"), (.longLine, "a line of more than 998 bytes"),
      (.noEmptyLine, "no empty line between header section and body"),
    ]
    for (defect, text) in found where header.defects.contains(defect) {
      return Problem(reason: "syntax.header", message: text + line)
    }
    for name in ["From", "Date"] where header.count(of: name) != 1 {
      return Problem(reason: "syntax.header", message: "\(header.count(of: name)) fields \(name); there must be one")
    }
    for name in ["Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject"]
    where header.count(of: name) > 1 {
      return Problem(reason: "syntax.header", message: "\(header.count(of: name)) fields \(name); one is allowed")
    }
    if let date = header.first("date"), MailDate(date.unfolded) == nil {
      return Problem(reason: "syntax.date", message: "the field Date is not a date of RFC 5322")
    }
    return nil
  }
}

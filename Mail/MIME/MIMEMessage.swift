public import Pipeline

/// The structure of a message (RFC 5322, 2045, 2046): its parts, as ranges of its bytes.
///
/// Every message can be read. What is odd about it is noted in `defects`; whether that matters is the caller's decision.
/// Reading is one pass over headers and delimiter lines, without recursion, within `Limits`; nothing is copied and
/// nothing decoded before it is asked for.
public struct MIMEMessage: Sendable {
  /// How much is read at most. What lies beyond stays part of the body that it stands in.
  public struct Limits: Sendable, Hashable {
    /// How deep parts may lie in each other.
    public var depth: Int
    /// Parts, those that hold others included.
    public var parts: Int
    /// Of the header section of a message, also of one in another.
    public var header: HeaderSection.Limits
    /// Of the header section of every other part.
    public var partHeader: HeaderSection.Limits
    /// Limits on depth, number of parts, and header sections.
    public init(
      depth: Int = 50, parts: Int = 1000, header: HeaderSection.Limits = HeaderSection.Limits(),
      partHeader: HeaderSection.Limits = HeaderSection.Limits(fields: 200, bytes: 64 * 1024)
    ) {
      self.depth = depth
      self.parts = parts
      self.header = header
      self.partHeader = partHeader
    }
  }

  /// What the standards forbid, or what went beyond the limits. Those of header sections are in `HeaderSection.defects`.
  public struct Defects: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: Int
    /// From bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// A `Content-Type` that is none; read as `text/plain` (RFC 2045 section 5.2).
    public static let badContentType = Defects(rawValue: 1)
    /// A `Content-Transfer-Encoding` that nobody knows; the body is left as it is.
    public static let unknownEncoding = Defects(rawValue: 1 << 1)
    /// An encoding other than the identity on a part that holds others (RFC 2045 section 6.4).
    public static let encodedComposite = Defects(rawValue: 1 << 2)
    /// A multipart without the parameter `boundary`.
    public static let noBoundary = Defects(rawValue: 1 << 3)
    /// A multipart in which its boundary does not occur.
    public static let noParts = Defects(rawValue: 1 << 4)
    /// A multipart without its last delimiter.
    public static let notClosed = Defects(rawValue: 1 << 5)
    /// Parts deeper than the limit.
    public static let tooDeep = Defects(rawValue: 1 << 6)
    /// More parts than the limit.
    public static let tooManyParts = Defects(rawValue: 1 << 7)
  }

  /// The message.
  public let bytes: Bytes
  /// All parts, each before those that it holds; the first one is the message itself.
  public let parts: [MIMEPart]
  /// The defects of all parts.
  public let defects: Defects

  /// Reads a message.
  public init(_ bytes: Bytes, limits: Limits = Limits()) {
    var reader = MIMEReader(bytes, limits)
    reader.read()
    self.bytes = bytes
    parts = reader.parts
    defects = reader.parts.reduce([]) { $0.union($1.defects) }
  }

  /// The message's own header section.
  public var header: HeaderSection { parts.first?.header ?? HeaderSection(bytes) }

  /// The part that IMAP calls by this number, such as `1.2` (RFC 9051 section 6.4.5.1).
  public func part(_ number: String) -> MIMEPart? { number.isEmpty ? nil : parts.first { $0.number == number } }

  /// The parts that a part holds directly, in order.
  public func children(of part: MIMEPart) -> [MIMEPart] {
    var found: [MIMEPart] = []
    var index = part.index + 1
    while index < part.end, parts.indices.contains(index) {
      found.append(parts[index])
      index = parts[index].end
    }
    return found
  }

  /// The part that holds a part; nil for the message itself.
  public func parent(of part: MIMEPart) -> MIMEPart? {
    part.parent.flatMap { parts.indices.contains($0) ? parts[$0] : nil }
  }
}

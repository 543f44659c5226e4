/// An answer as name servers send it (RFC 1035 section 4). Parsed strictly: a message that is not whole, says more than
/// it announces, or holds a record of a known type that is not good, is none.
public struct DNSMessage: Hashable, Sendable {
  /// 0: no error, 3: there is no such name; others say that the server cannot or will not.
  public let responseCode: Int
  /// Whether records are missing since they did not fit.
  public let isTruncated: Bool
  /// The name that was asked for.
  public let name: DNSName
  /// The type that was asked for.
  public let type: UInt16
  /// The records of the answer, in order.
  public let answers: [DNSRecord]
  /// The records about who knows more, in order.
  public let authorities: [DNSRecord]

  static let headerSize = 12
  private static let internet: UInt16 = 1
  private static let opt: UInt16 = 41

  /// Why bytes are no answer.
  public enum Malformed: Error, Sendable {
    /// It ends before what it announces.
    case cutShort
    /// It goes on behind what it announces.
    case trailingBytes
    /// It is not an answer to one question about the internet.
    case notAnAnswer
    /// A name points forward, to itself or into the header, or on and on.
    case badPointer
    /// A label is of a kind that nobody uses.
    case badLabel
    /// A name has more than 255 bytes.
    case nameTooLong
    /// A record's data is not what its type says.
    case badData
  }

  /// Parses a message; it can have up to 65,535 bytes. Takes time and memory in proportion to them.
  public init(parsing bytes: [UInt8]) throws(Malformed) {
    var reader = DNSReader(bytes)
    _ = try reader.number16()  // the id
    let flags = try reader.number16()
    // A response to a query; one question.
    guard flags >> 15 == 1, flags >> 11 & 15 == 0, try reader.number16() == 1 else { throw .notAnAnswer }
    let counts = (try reader.number16(), try reader.number16(), try reader.number16())
    isTruncated = flags >> 9 & 1 == 1
    name = try reader.name()
    type = try reader.number16()
    guard try reader.number16() == Self.internet else { throw .notAnAnswer }
    answers = try Self.records(counts.0, &reader)
    authorities = try Self.records(counts.1, &reader)
    // Nothing of these is believed, but for the rest of the response code, in the OPT record (RFC 6891).
    var code = Int(flags & 15)
    for _ in 0..<counts.2 {
      let (_, type, _, ttl, _) = try Self.record(&reader)
      if type == Self.opt { code |= Int(ttl >> 24) << 4 }
    }
    responseCode = code
    guard reader.isAtEnd else { throw .trailingBytes }
  }

  private static func records(_ count: UInt16, _ reader: inout DNSReader) throws(Malformed) -> [DNSRecord] {
    var records: [DNSRecord] = []
    for _ in 0..<count {
      var (name, type, `class`, ttl, data) = try record(&reader)
      guard `class` == internet else { throw .badData }
      // A time with its highest bit set is none (RFC 2181 section 8).
      let seconds = ttl > UInt32(Int32.max) ? 0 : Int(ttl)
      records.append(DNSRecord(name: name, ttl: seconds, data: try DNSRecord.Data(type, ttl: seconds, &data)))
      guard data.isAtEnd else { throw .badData }
    }
    return records
  }

  private static func record(
    _ reader: inout DNSReader
  ) throws(Malformed) -> (DNSName, type: UInt16, class: UInt16, ttl: UInt32, data: DNSReader) {
    let name = try reader.name()
    let (type, `class`, ttl) = (try reader.number16(), try reader.number16(), try reader.number32())
    return (name, type, `class`, ttl, try reader.part(Int(try reader.number16())))
  }
}

extension DNSRecord.Data {
  fileprivate init(_ type: UInt16, ttl: Int, _ data: inout DNSReader) throws(DNSMessage.Malformed) {
    switch DNSRecord.Kind(rawValue: type) {
    case .a: self = .a(try Self.address(4, &data))
    case .aaaa: self = .aaaa(try Self.address(16, &data))
    case .cname: self = .cname(try data.name())
    case .ptr: self = .ptr(try data.name())
    case .mx: self = .mx(DNSRecord.MX(preference: try data.number16(), exchange: try data.name()))
    case .txt:
      var strings: [[UInt8]] = []
      repeat { strings.append(try data.array(Int(try data.byte()))) } while !data.isAtEnd
      self = .txt(DNSRecord.TXT(strings: strings))
    case .tlsa:
      self = .tlsa(
        DNSRecord.TLSA(
          usage: try data.byte(), selector: try data.byte(), matching: try data.byte(), association: try data.array()))
    case nil where type == 6:
      _ = (try data.name(), try data.name())
      for _ in 0..<4 { _ = try data.number32() }
      let minimum = try data.number32()
      self = .soa(negativeTTL: min(ttl, minimum > UInt32(Int32.max) ? 0 : Int(minimum)))
    case nil:
      _ = try data.array()
      self = .other(type: type)
    }
  }

  private static func address(_ count: Int, _ data: inout DNSReader) throws(DNSMessage.Malformed) -> IPAddress {
    guard let address = IPAddress(bytes: try data.array(count)) else { throw .badData }
    return address
  }
}

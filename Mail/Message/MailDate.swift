public import Pipeline

/// A date as mail writes it (RFC 5322 section 3.3): a point in time and the zone of the one who wrote it.
public struct MailDate: Sendable, Hashable {
  /// The point in time, in whole seconds.
  public let time: Timestamp
  /// Minutes east of UTC.
  public let zoneMinutes: Int

  /// A point in time, shown in UTC unless a zone is given (minutes east, less than a day).
  public init(_ time: Timestamp, zoneMinutes: Int = 0) {
    self.time = time
    self.zoneMinutes = max(-1439, min(1439, zoneMinutes))
  }

  /// Reads `Tue, 24 Nov 2026 09:30:00 +0100`, with comments and the obsolete forms of section 4.3: years of two and
  /// three digits, seconds left out, zones by name. The name of the day is not compared. Nil for anything else.
  public init?(_ text: some Collection<UInt8>) {
    guard let tokens = Self.tokens(text) else { return nil }
    var rest = tokens[...]
    if let first = rest.first, Self.isWord(first) { rest = rest.dropFirst() }
    if rest.first == "," { rest = rest.dropFirst() }
    guard rest.count >= 6, rest.count <= 9, let day = Self.number(rest.removeFirst(), 1...2),
      let month = Self.month(rest.removeFirst()), let year = Self.year(rest.removeFirst()),
      let hour = Self.number(rest.removeFirst(), 1...2), rest.removeFirst() == ":",
      let minute = rest.popFirst().flatMap({ Self.number($0, 1...2) })
    else { return nil }
    var second = 0
    if rest.first == ":" {
      rest = rest.dropFirst()
      guard let token = rest.popFirst(), let number = Self.number(token, 1...2) else { return nil }
      second = number
    }
    guard rest.count <= 1, let zone = Self.zone(rest.first), (1...31).contains(day),
      day <= Self.days(in: month, year), hour < 24, minute < 60, second <= 60
    else { return nil }
    // A leap second counts as the one before it.
    let inDay = Int64(hour * 3600 + minute * 60 + min(second, 59))
    let seconds = Self.daysSince1970(year, month, day) * 86_400 + inDay - Int64(zone * 60)
    time = Timestamp(milliseconds: seconds * 1000)
    zoneMinutes = zone
  }

  // MARK: Parts

  /// Words, numbers with their sign, colons and commas; comments are left out (they nest), and only 200 bytes read.
  private static func tokens(_ text: some Collection<UInt8>) -> [String]? {
    var tokens: [String] = []
    var word: [UInt8] = []
    var depth = 0
    func finish() {
      if !word.isEmpty { tokens.append(String(decoding: word, as: UTF8.self)) }
      word = []
    }
    for byte in text.prefix(200) {
      switch byte {
      case UInt8(ascii: "("):
        finish()
        depth += 1
      case UInt8(ascii: ")"):
        guard depth > 0 else { return nil }
        depth -= 1
      case _ where depth > 0: continue
      case 9, 10, 13, 32: finish()
      case UInt8(ascii: ":"), UInt8(ascii: ","):
        finish()
        tokens.append(byte == UInt8(ascii: ":") ? ":" : ",")
      case 48...57, 65...90, 97...122, UInt8(ascii: "+"), UInt8(ascii: "-"): word.append(byte)
      default: return nil
      }
    }
    finish()
    return depth == 0 ? tokens : nil
  }

  private static func isWord(_ token: String) -> Bool {
    token.utf8.allSatisfy { (65...90).contains($0) || (97...122).contains($0) }
  }

  private static func number(_ token: String, _ digits: ClosedRange<Int>) -> Int? {
    guard digits.contains(token.utf8.count), token.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(token)
  }

  private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
  private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]

  private static func month(_ token: String) -> Int? {
    months.firstIndex { $0.utf8.elementsEqual(token.utf8) { $0 | 32 == $1 | 32 } }.map { $0 + 1 }
  }

  private static func year(_ token: String) -> Int? {
    guard let year = number(token, 2...4) else { return nil }
    switch token.utf8.count {
    case 2: return year < 50 ? 2000 + year : 1900 + year
    case 3: return 1900 + year
    default: return year >= 1900 ? year : nil
    }
  }

  /// A zone that nobody knows counts as UTC (section 4.3), as does one that was left out.
  private static func zone(_ token: String?) -> Int? {
    guard let token else { return 0 }
    if let sign = token.first, sign == "+" || sign == "-" {
      guard let value = number(String(token.dropFirst()), 4...4), value % 100 < 60, value / 100 < 24 else { return nil }
      let minutes = value / 100 * 60 + value % 100
      return sign == "-" ? -minutes : minutes
    }
    guard isWord(token), token.utf8.count <= 5 else { return nil }
    switch token.uppercased() {
    case "EDT": return -4 * 60
    case "EST", "CDT": return -5 * 60
    case "CST", "MDT": return -6 * 60
    case "MST", "PDT": return -7 * 60
    case "PST": return -8 * 60
    default: return 0
    }
  }

  /// When a day begins in UTC; nil for one that there is not, or from before 1900.
  static func midnight(_ year: Int, _ month: Int, _ day: Int) -> Timestamp? {
    guard (1900...9999).contains(year), (1...12).contains(month), (1...days(in: month, year)).contains(day) else {
      return nil
    }
    return Timestamp(milliseconds: daysSince1970(year, month, day) * 86_400_000)
  }

  private static func days(in month: Int, _ year: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Howard Hinnant's `days_from_civil`, for years from 1900 on.
  private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int64 {
    let year = month <= 2 ? year - 1 : year
    let era = year / 400
    let yearOfEra = year - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return Int64(era * 146_097 + dayOfEra - 719_468)
  }
}

extension MailDate: CustomStringConvertible {
  /// As RFC 5322 section 3.3 writes it: `Tue, 24 Nov 2026 09:30:00 +0100`.
  public var description: String {
    let date = CivilDate(time + .seconds(zoneMinutes * 60))
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let zone = abs(zoneMinutes)
    let weekday = Self.weekdays[max(0, min(6, date.weekday))]
    let month = Self.months[max(0, min(11, date.month - 1))]
    let year = String(date.year)
    return "\(weekday), \(date.day) \(month) \(String(repeating: "0", count: max(0, 4 - year.count)))\(year) "
      + "\(two(date.hour)):\(two(date.minute)):\(two(date.second)) "
      + "\(zoneMinutes < 0 ? "-" : "+")\(two(zone / 60))\(two(zone % 60))"
  }
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
public struct Timestamp: Sendable, Hashable, Comparable {
  /// Microseconds since 1970.
  public let microseconds: Int64

  /// Before every other.
  public static let distantPast = Timestamp(microseconds: .min)
  /// After every other.
  public static let distantFuture = Timestamp(microseconds: .max)

  /// A point in time in microseconds since 1970.
  public init(microseconds: Int64) { self.microseconds = microseconds }

  /// A point in time in milliseconds since 1970.
  public init(milliseconds: Int64) {
    microseconds = milliseconds.multipliedReportingOverflow(by: 1000).overflow ? .max : milliseconds * 1000
  }

  /// Milliseconds since 1970, rounded down.
  public var milliseconds: Int64 { microseconds / 1000 }

  /// The earlier one first.
  public static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }
  /// Later by `duration`; stays at the end of time instead of overflowing.
  public static func + (time: Timestamp, duration: Duration) -> Timestamp {
    let (sum, overflow) = time.microseconds.addingReportingOverflow(duration.microseconds)
    return Timestamp(microseconds: overflow ? .max : sum)
  }
  /// How much later `left` is; negative if it is earlier.
  public static func - (left: Timestamp, right: Timestamp) -> Duration {
    .microseconds(left.microseconds.subtractingReportingOverflow(right.microseconds).partialValue)
  }
}

extension Duration {
  /// Whole microseconds, clamped to 64 bits.
  public var microseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
    guard !overflow else { return seconds < 0 ? .min : .max }
    let (sum, carry) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000)
    return carry ? .max : sum
  }
  /// Whole milliseconds, rounded towards zero.
  public var milliseconds: Int64 { microseconds / 1000 }
}

extension Timestamp: CustomStringConvertible {
  /// RFC 3339 in UTC with milliseconds, such as `2026-11-24T09:30:00.125Z`.
  public var description: String {
    let date = CivilDate(self)
    func pad(_ value: Int, _ width: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return pad(date.year, 4) + "-" + pad(date.month, 2) + "-" + pad(date.day, 2) + "T" + pad(date.hour, 2) + ":"
      + pad(date.minute, 2) + ":" + pad(date.second, 2) + "." + pad(date.millisecond, 3) + "Z"
  }
}

/// A timestamp broken down to the Gregorian calendar in UTC, by Howard Hinnant's `civil_from_days`.
public struct CivilDate: Sendable, Equatable {
  /// Year, such as 2026.
  public let year: Int
  /// 1 to 12.
  public let month: Int
  /// 1 to 31.
  public let day: Int
  /// 0 to 23.
  public let hour: Int
  /// 0 to 59.
  public let minute: Int
  /// 0 to 59.
  public let second: Int
  /// 0 to 999.
  public let millisecond: Int
  /// 0 is Sunday.
  public let weekday: Int

  /// Breaks `time` down.
  public init(_ time: Timestamp) {
    let floorDivision = { (value: Int64, divisor: Int64) in
      value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor)
    }
    let clamped = max(-62_135_596_800_000, min(253_402_300_799_999, floorDivision(time.microseconds, 1000)))
    let days = floorDivision(clamped, 86_400_000)
    let inDay = Int(clamped - days * 86_400_000)
    let shifted = days + 719_468
    let era = floorDivision(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = Int(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
    year = Int(yearOfEra + era * 400) + (month <= 2 ? 1 : 0)
    hour = inDay / 3_600_000
    minute = inDay / 60_000 % 60
    second = inDay / 1000 % 60
    millisecond = inDay % 1000
    weekday = Int((days % 7 + 11) % 7)
  }
}

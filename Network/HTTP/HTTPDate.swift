import Glibc
import Synchronization

/// Times as HTTP writes them: IMF-fixdate (RFC 9110 section 5.6.7).
enum HTTPDate {
  private static let last = Mutex<(seconds: Int, text: String)>((.min, ""))

  /// The time now, written at most once a second.
  static var now: String {
    let seconds = time(nil)
    return last.withLock { last in
      if last.seconds != seconds { last = (seconds, text(seconds)) }
      return last.text
    }
  }

  /// Seconds since 1970.
  static func text(_ seconds: Int) -> String {
    var seconds = seconds
    var parts = tm()
    gmtime_r(&seconds, &parts)
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let day = days[Int(max(0, min(6, parts.tm_wday)))]
    let month = months[Int(max(0, min(11, parts.tm_mon)))]
    return "\(day), \(two(parts.tm_mday)) \(month) \(1900 + parts.tm_year) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
  }
}

import Glibc

/// Time and CPU of this process over a stretch of work.
struct Meter {
  private let started = Self.seconds()
  private let cpu = Self.cpuSeconds()

  /// What has passed since the meter was made, in seconds.
  var elapsed: (wall: Double, cpu: Double) { (Self.seconds() - started, Self.cpuSeconds() - cpu) }

  private static func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// User and system time of all threads.
  private static func cpuSeconds() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }
}

/// Prints one result as a JSON object on a line, for `Benchmarks/run`.
func report(count: Int, _ meter: Meter, _ more: (name: String, value: Double)...) {
  let (wall, cpu) = meter.elapsed
  let fields = [("count", Double(count)), ("seconds", wall), ("cpu", cpu)] + more.map { ($0.name, $0.value) }
  print("{" + fields.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}")
}

/// Bytes that do not compress, the same in every run.
func noise(_ count: Int) -> [UInt8] {
  var state: UInt64 = 88_172_645_463_325_252
  return (0..<count).map { _ in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt8(truncatingIfNeeded: state)
  }
}

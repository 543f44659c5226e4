import Glibc

/// Standard output and standard error, written whole and at once.
public enum Console {
  /// A line on standard output.
  public static func out(_ text: String) { write(1, text + "\n") }
  /// A line on standard error.
  public static func error(_ text: String) { write(2, text + "\n") }
  /// Whether standard output is a terminal.
  public static var isTerminal: Bool { isatty(1) == 1 }

  static func write(_ descriptor: Int32, _ text: String) { write(descriptor, Array(text.utf8)) }

  static func write(_ descriptor: Int32, _ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Rows as aligned columns; the first row is the heading. Columns of numbers, by their index, are aligned to the right.
  public static func table(_ rows: [[String]], right: Set<Int> = []) -> String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        if right.contains(column) { return space + cell }
        return column == columns - 1 ? cell : cell + space
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }
}

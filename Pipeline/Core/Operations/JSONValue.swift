/// A JSON value to be written (RFC 8259). Objects keep the order of their members.
public enum JSONValue: Sendable, Hashable {
  /// Members in order.
  case object([Member])
  /// Values in order.
  case array([JSONValue])
  /// A text.
  case string(String)
  /// A whole number.
  case int(Int)
  /// A number; one that JSON cannot say (infinite, no number) is written as null.
  case number(Double)
  /// `true` or `false`.
  case bool(Bool)
  /// `null`.
  case null

  /// A name with its value.
  public struct Member: Sendable, Hashable {
    let name: String
    let value: JSONValue
    /// A name with its value.
    public init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  /// The text of an optional; null for nil.
  public static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }

  /// The text, without white space.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// The text in UTF-8, without white space.
  public var bytes: [UInt8] {
    var output: [UInt8] = []
    write(&output)
    return output
  }

  private func write(_ output: inout [UInt8]) {
    switch self {
    case .object(let members):
      output.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        Self.write(member.name, &output)
        output.append(UInt8(ascii: ":"))
        member.value.write(&output)
      }
      output.append(UInt8(ascii: "}"))
    case .array(let values):
      output.append(UInt8(ascii: "["))
      for (index, value) in values.enumerated() {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        value.write(&output)
      }
      output.append(UInt8(ascii: "]"))
    case .string(let text): Self.write(text, &output)
    case .int(let number): output.append(contentsOf: String(number).utf8)
    case .number(let number): output.append(contentsOf: (number.isFinite ? "\(number)" : "null").utf8)
    case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
    case .null: output.append(contentsOf: "null".utf8)
    }
  }

  private static func write(_ text: String, _ output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        output.append(UInt8(ascii: "\\"))
        output.append(byte)
      case 10: output.append(contentsOf: "\\n".utf8)
      case 13: output.append(contentsOf: "\\r".utf8)
      case 9: output.append(contentsOf: "\\t".utf8)
      case 0..<32, 127:
        output.append(contentsOf: "\\u00".utf8)
        for digit in [byte >> 4, byte & 15] { output.append(digit < 10 ? 48 + digit : 87 + digit) }
      default: output.append(byte)
      }
    }
    output.append(UInt8(ascii: "\""))
  }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, ExpressibleByStringLiteral,
  ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral
{
  /// An object, in the order as written.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(elements.map { Member($0.0, $0.1) })
  }
  /// An array.
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  /// A text.
  public init(stringLiteral value: String) { self = .string(value) }
  /// A whole number.
  public init(integerLiteral value: Int) { self = .int(value) }
  /// `true` or `false`.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
}

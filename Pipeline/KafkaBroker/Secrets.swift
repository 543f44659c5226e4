import Glibc
import Pipeline

extension KafkaBroker.Options {
  /// The most bytes of such a file.
  private static let largestFile = 65_536

  /// The properties, with `NAME-file: PATH` read: the property NAME is what the file holds, without the end of its last
  /// line. So a secret is in neither the topology nor the environment.
  ///
  /// - Throws: `.badSetting` for a file that cannot be read, or a property that is given twice.
  func readingFiles() throws(BrokerError) -> [String: String] {
    var result = properties
    for (key, path) in properties where key.hasSuffix("-file") {
      let name = String(key.dropLast(5))
      guard properties[name] == nil else {
        throw BrokerError(.badSetting, "kafka.\(name) and kafka.\(key) are both given", hint: "one of them is enough")
      }
      result[key] = nil
      result[name] = try Self.text(of: path, for: key)
    }
    return result
  }

  private static func text(of path: String, for key: String) throws(BrokerError) -> String {
    func failed(_ why: String) -> BrokerError {
      BrokerError(.badSetting, "kafka.\(key) names \(path), which cannot be read: \(why)")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failed(String(cString: strerror(errno))) }
    defer { Glibc.close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failed(String(cString: strerror(errno))) }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[0..<count])
      guard bytes.count <= largestFile else { throw failed("it is larger than \(largestFile) bytes") }
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    guard !bytes.isEmpty, !bytes.contains(0) else { throw failed("it is empty, or no text") }
    return String(decoding: bytes, as: UTF8.self)
  }
}

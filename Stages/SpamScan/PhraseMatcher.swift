/// Finds many phrases in a text in one pass (Aho and Corasick, 1975).
///
/// Texts are folded first: ASCII letters small, any run of white space one space. A phrase matches whole words, but where
/// it begins or ends in `*`.
struct PhraseMatcher: Sendable {
  private struct Phrase: Sendable {
    let length: Int
    let beginsAnywhere: Bool
    let endsAnywhere: Bool
  }
  private var phrases: [Phrase] = []
  /// 256 successors a node, complete after `build`.
  private var next: [Int32] = Array(repeating: 0, count: 256)
  private var outputs: [[Int]] = [[]]
  /// The longest proper suffix that is a node with outputs; 0: none.
  private var shorter: [Int32] = [0]
  /// The node itself if it has outputs, else `shorter`: where to look for what ends here; 0: nowhere. Negative if none of
  /// that may end within a word.
  private var reports: [Int32] = []

  /// The most bytes of all phrases together: a KiB of memory each.
  static let maximumSize = 32 * 1024

  /// Phrases with the numbers that `matches` tells of. Empty ones never match.
  init(_ texts: [String]) {
    for text in texts {
      let folded = Self.folded(text.utf8)
      let inner = folded.drop { $0 == UInt8(ascii: "*") }
      let core = Array(inner.reversed().drop { $0 == UInt8(ascii: "*") }.reversed())
      phrases.append(
        Phrase(
          length: core.count, beginsAnywhere: folded.first == UInt8(ascii: "*"),
          endsAnywhere: folded.last == UInt8(ascii: "*")))
      if !core.isEmpty { insert(core, phrases.count - 1) }
    }
    build()
  }

  private mutating func insert(_ bytes: [UInt8], _ phrase: Int) {
    var node = 0
    for byte in bytes {
      let slot = node * 256 + Int(byte)
      if next[slot] == 0 {
        next[slot] = Int32(outputs.count)
        next.append(contentsOf: repeatElement(0, count: 256))
        outputs.append([])
        shorter.append(0)
      }
      node = Int(next[slot])
    }
    outputs[node].append(phrase)
  }

  /// Breadth first: where a node has no successor of its own, that of its longest suffix stands.
  private mutating func build() {
    var suffix = [Int](repeating: 0, count: outputs.count)
    var queue: [Int] = []
    for byte in 0..<256 where next[byte] != 0 { queue.append(Int(next[byte])) }
    var at = 0
    while at < queue.count {
      let node = queue[at]
      at += 1
      for byte in 0..<256 {
        let child = Int(next[node * 256 + byte])
        let through = next[suffix[node] * 256 + byte]
        if child == 0 {
          next[node * 256 + byte] = through
        } else {
          suffix[child] = Int(through)
          shorter[child] = outputs[Int(through)].isEmpty ? shorter[Int(through)] : through
          queue.append(child)
        }
      }
    }
    reports = outputs.indices.map { node in
      let first = outputs[node].isEmpty ? shorter[node] : Int32(node)
      var output = Int(first)
      while output != 0, !outputs[output].contains(where: { phrases[$0].endsAnywhere }) {
        output = Int(shorter[output])
      }
      return output != 0 ? first : -first
    }
  }

  /// The numbers of the phrases that are in a folded text.
  func matches(_ text: [UInt8]) -> Set<Int> {
    var found: Set<Int> = []
    guard outputs.count > 1 else { return found }
    // Nearly all bytes of nearly all texts lead nowhere: on their way no array is taken hold of.
    text.withUnsafeBufferPointer { text in
      next.withUnsafeBufferPointer { next in
        reports.withUnsafeBufferPointer { reports in
          var node = 0
          for index in text.indices {
            node = Int(next[node * 256 + Int(text[index])])
            let place = reports[node]
            if place == 0 || place < 0 && index + 1 < text.count && Self.isWord(text[index + 1]) { continue }
            report(abs(place), text, index, &found)
          }
        }
      }
    }
    return found
  }

  /// Notes the phrases that end at `index`: those of a node, and of the suffixes behind it.
  private func report(_ node: Int32, _ text: UnsafeBufferPointer<UInt8>, _ index: Int, _ found: inout Set<Int>) {
    var output = Int(node)
    while output != 0 {
      for number in outputs[output] where isWhole(phrases[number], text, index) { found.insert(number) }
      output = Int(shorter[output])
    }
  }

  private func isWhole(_ phrase: Phrase, _ text: UnsafeBufferPointer<UInt8>, _ end: Int) -> Bool {
    let start = end - phrase.length
    return (phrase.beginsAnywhere || start < 0 || !Self.isWord(text[start]))
      && (phrase.endsAnywhere || end + 1 >= text.count || !Self.isWord(text[end + 1]))
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (97...122).contains(byte) || byte >= 128
  }

  /// Small letters, and one space for any run of white space.
  static func folded(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    bytes.withContiguousStorageIfAvailable(fold) ?? Array(bytes).withUnsafeBufferPointer(fold)
  }

  private static func fold(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: bytes.count) { output, count in
      var isBlank = false
      for byte in bytes {
        let isSpace = (9...13).contains(byte) || byte == 32
        if isSpace, isBlank { continue }
        output[count] = isSpace ? 32 : (65...90).contains(byte) ? byte | 0x20 : byte
        count += 1
        isBlank = isSpace
      }
    }
  }
}

import Pipeline
import PipelineTesting

/// What is to become of a message: decided by the seed and its number, the same in every process.
struct Fate {
  enum End {
    /// Passes every stage.
    case pass
    /// Goes on in parts.
    case split(Int)
    /// Ends in `part`, on purpose.
    case drop
    /// A dead letter of this stage.
    case dead(String)
  }

  let number: Int
  let id: MessageID
  let key: Bytes
  let end: End
  /// The stages whose first attempt fails.
  let fails: Set<String>
  /// How long `slow` takes.
  let pause: Duration
  let size: Int

  init(_ number: Int, seed: UInt64) {
    var chance = SplitMix(seed: seed &+ UInt64(number) &* 0x9E37_79B9_7F4A_7C15)
    self.number = number
    id = MessageID(
      at: Timestamp(milliseconds: 1_700_000_000_000 + Int64(number)), random: SeededRandom(seed: chance.next()))
    key = Bytes("key\(chance.next() % 61)")
    switch chance.next() % 100 {
    case 0: end = .dead("enter")
    case 1: end = .dead("part")
    case 2...4: end = .drop
    case 5...9: end = .split(Int(2 + chance.next() % 3))
    default: end = .pass
    }
    var fails: Set<String> = []
    if chance.next() % 12 == 0 { fails.insert("enter") }
    if chance.next() % 50 == 0 { fails.insert("order") }
    if chance.next() % 100 == 0 { fails.insert("part") }
    self.fails = fails
    let isSlow = chance.next() % 100 == 0
    pause = .milliseconds(isSlow ? 1500 : Int(chance.next() % 3))
    size = [50, 500, 2000][Int(chance.next() % 3)]
  }

  /// Its content: the number, then letters that the number chooses.
  var content: String {
    "\(number) " + String(repeating: Character(Unicode.Scalar(UInt8(97 + number % 26))), count: size)
  }

  static func partName(_ index: Int) -> String { "p\(index)" }

  /// The ids that it leaves in the last topic.
  var endings: [MessageID] {
    switch end {
    case .pass, .drop: [id]
    case .split(let count): [id] + (0..<count).map { id.part(Self.partName($0), of: "part") }
    case .dead: []
    }
  }

  /// The stage whose dead letters it is among.
  var deadAt: String? { if case .dead(let stage) = end { stage } else { nil } }
}

import KafkaBroker
import Pipeline

/// Among the messages of one key first attempts follow the offsets of the stage's work topic, and no two were worked on
/// at once; and how long partitions stood still while something waited in them.
///
/// Only what was settled counts: what a worker did whose partition somebody else had is seen by nobody. Whoever got the
/// partition then began behind what was settled, so the times of all workers of one machine have to be in order.
struct Order {
  struct Stand {
    let partition: Int
    let from: Int64
    let until: Int64
  }

  private let tail: Tail
  private let topic: String
  private let worked: [MessageID: (began: Int64, ended: Int64, attempt: Int)]

  init(_ tail: Tail, topic: String, worked: [MessageID: (began: Int64, ended: Int64, attempt: Int)]) {
    self.tail = tail
    self.topic = topic
    self.worked = worked
  }

  func judge() async throws -> (checked: Int, breaches: [String], stands: [Stand]) {
    struct Lane: Hashable {
      let partition: Int
      let key: Bytes
    }
    let wall = SystemClock.shared.now.microseconds * 1000 - monotonicNanoseconds()
    var last: [Lane: (id: MessageID, ended: Int64)] = [:]
    var ends: [Int: Int64] = [:]
    var (checked, breaches, stands): (Int, [String], [Stand]) = (0, [], [])
    for record in try await tail.all(topic) {
      guard let message = try? MessageCodec.decode(record, store: nil), let times = worked[message.id],
        times.attempt == 1
      else { continue }
      checked += 1
      let number = record.topicPartition.partition
      let lane = Lane(partition: number, key: message.key)
      if let before = last[lane], before.ended > times.began {
        breaches.append("\(message.id) at \(record.topicPartition) \(record.offset) began before \(before.id) was done")
      }
      last[lane] = (message.id, times.ended)
      let waitedSince = max(ends[number] ?? 0, record.timestamp.microseconds * 1000 - wall)
      stands.append(Stand(partition: number, from: waitedSince, until: times.began))
      ends[number] = max(ends[number] ?? 0, times.ended)
    }
    stands.sort { $0.until - $0.from > $1.until - $1.from }
    return (checked, breaches, stands)
  }
}

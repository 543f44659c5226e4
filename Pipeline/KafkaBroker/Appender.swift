import Pipeline
import RdKafka

/// Appends single records, each whenever it comes: what waits at the same time is sent together. Used by one thread.
///
/// An idempotent producer that waits for all replicas: a record is there once it was reported, once, and in the order in
/// which it came. While a partition has records under way, what comes for it waits here, and goes together then: given to
/// librdkafka at once, it could not go before either (one request at a time), and librdkafka's thread would ask all that
/// time, without a pause, whether it can.
///
/// What was not answered by its deadline may be there (`.unknownResult`), and is not sent any more. librdkafka 2.0.2 must
/// not judge that: it calls a record that a leader took, and did not answer for before it lost the partition, one that is
/// not there; and behind a record that it gave up it numbers all others anew, also those that were sent before without
/// an answer, which brokers then take a second time. So no record ever expires there: when one is late, all that is under
/// way is given up with the producer, and another one takes its place.
final class Appender {
  struct Item: Sendable {
    let record: PreparedRecord
    let answer: Answer<[Int64]>
    /// When it is too late to send it.
    let deadline: Deadline
  }

  private let options: KafkaBroker.Options
  private let wake: @Sendable () -> Void
  private var client: ProducerClient?
  private var sent: [Int: Item] = [:]
  private var nextToken = 0
  /// How many records each partition has under way.
  private var underWay: [TopicPartition: Int] = [:]
  /// What has to wait for its partition, or for room in the producer's queue, which is bounded in bytes: callers wait, and
  /// so do their clients.
  private var waiting: [Item] = []
  /// When to `serve` although nobody called: no deadline is earlier.
  private(set) var next: Deadline?

  /// - Parameter wake: called on another thread when there is something to `serve`.
  init(_ options: KafkaBroker.Options, wake: @escaping @Sendable () -> Void) {
    self.options = options
    self.wake = wake
  }

  func add(_ items: [Item]) {
    waiting += items
    next = next ?? items.first?.deadline
    serve()
  }

  /// Hands out what was reported, gives up what is late, and sends what there is room for.
  func serve() {
    client?.serve(milliseconds: 0)
    settle()
    if let error = client?.fatalError { end("\(error)") }
    if next?.isOver == true { giveUp() }
    send()
  }

  private func settle() {
    for report in client?.takeReports() ?? [] {
      guard let item = sent.removeValue(forKey: report.token) else { continue }
      let place = item.record.place
      underWay[place] = underWay[place].flatMap { $0 > 1 ? $0 - 1 : nil }
      item.answer.resume(returning: Self.result(report))
    }
  }

  static func result(_ report: ProducerClient.Report) -> Result<[Int64], BrokerError> {
    guard let error = report.error else { return .success([report.offset]) }
    if report.mayBeThere { return .failure(unanswered("\(error)")) }
    return .failure(BrokerError(error, "produce"))
  }

  private static func unanswered(_ why: String) -> BrokerError {
    BrokerError(.unknownResult, "produce was not answered: \(why)")
  }

  private func giveUp() {
    let late = Set(sent.values.filter(\.deadline.isOver).map(\.record.place))
    if !late.isEmpty { end("no answer in time") }
    waiting.removeAll { item in
      // What waits behind records that were not answered would be the next to be late.
      guard item.deadline.isOver || late.contains(item.record.place) else { return false }
      let place = item.record.place
      item.answer.resume(returning: .failure(BrokerError(.unavailable, "produce: too much waits already for \(place)")))
      return true
    }
    next = (waiting + sent.values).map(\.deadline).min { $0.nanoseconds < $1.nanoseconds }
  }

  private func send() {
    guard !waiting.isEmpty else { return }
    let busy = Set(underWay.keys)
    var (rest, isFull): ([Item], Bool) = ([], false)
    for item in waiting {
      if isFull || busy.contains(item.record.place) {
        rest.append(item)
        continue
      }
      do throws(KafkaError) {
        if try ready().offer(item.record, token: nextToken) {
          sent[nextToken] = item
          underWay[item.record.place, default: 0] += 1
          nextToken += 1
        } else {
          isFull = true
          rest.append(item)
        }
      } catch {
        item.answer.resume(returning: .failure(BrokerError(error, "produce")))
      }
    }
    waiting = rest
  }

  private func ready() throws(KafkaError) -> ProducerClient {
    if let client { return client }
    let client = try ProducerClient(options.appender, wake: wake)
    self.client = client
    return client
  }

  /// Waits for everything that was sent; what comes later begins with a new producer.
  func finish() {
    while let client, !sent.isEmpty || !waiting.isEmpty {
      client.serve(milliseconds: 100)
      serve()
    }
    end("the producer was ended")
  }

  /// Ends the producer. What was handed to it is never sent again, and may be there.
  private func end(_ why: String) {
    client?.abandon(keeping: sent.values.map(\.record))
    client = nil
    for item in sent.values { item.answer.resume(returning: .failure(Self.unanswered(why))) }
    sent = [:]
    underWay = [:]
  }
}

import Pipeline
import RdKafka

/// Appends single records, each whenever it comes: what waits at the same time is sent together. Used by one thread.
///
/// An idempotent producer that waits for all replicas: a record is there once it was reported, once, and in the order in
/// which it came. While a partition has records under way, what comes for it waits here, and goes together then: given to
/// librdkafka at once, it could not go before either (one request at a time), and librdkafka's thread would ask all that
/// time, without a pause, whether it can. One that is not reported within the patience is given up: it is not sent any
/// more, and may be there (`.unknownResult`) only if it had been sent.
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

  /// - Parameter wake: called on another thread when there is something to `serve`.
  init(_ options: KafkaBroker.Options, wake: @escaping @Sendable () -> Void) {
    self.options = options
    self.wake = wake
  }

  func add(_ items: [Item]) {
    waiting += items
    serve()
  }

  /// Hands out what was reported, and sends what there is room for.
  func serve() {
    client?.serve(milliseconds: 0)
    settle()
    guard !waiting.isEmpty else { return }
    let busy = Set(underWay.keys)
    var (rest, isFull): ([Item], Bool) = ([], false)
    for item in waiting {
      if item.deadline.isOver {
        item.answer.resume(returning: .failure(BrokerError(.unavailable, "produce: too much waits already")))
      } else if isFull || busy.contains(item.record.place) {
        rest.append(item)
      } else {
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
    }
    waiting = rest
  }

  private func settle() {
    guard let client else { return }
    for report in client.takeReports() {
      guard let item = sent.removeValue(forKey: report.token) else { continue }
      let place = item.record.place
      underWay[place] = underWay[place].flatMap { $0 > 1 ? $0 - 1 : nil }
      item.answer.resume(returning: Self.result(report))
    }
    if let error = client.fatalError { end(error) }
  }

  static func result(_ report: ProducerClient.Report) -> Result<[Int64], BrokerError> {
    guard let error = report.error else { return .success([report.offset]) }
    if report.mayBeThere { return .failure(BrokerError(.unknownResult, "produce was not answered: \(error)")) }
    return .failure(BrokerError(error, "produce"))
  }

  private func ready() throws(KafkaError) -> ProducerClient {
    if let client { return client }
    let client = try ProducerClient(options.appender, wake: wake)
    self.client = client
    return client
  }

  /// Waits for everything that was sent; what comes later begins with a new producer.
  func finish() {
    let deadline = Deadline(options.patience * 2)
    while let client, !sent.isEmpty || !waiting.isEmpty, !deadline.isOver {
      client.serve(milliseconds: 100)
      serve()
    }
    end(nil)
  }

  private func end(_ error: KafkaError?) {
    client?.abandon(keeping: sent.values.map(\.record))
    client = nil
    let why = error.map { ": \($0)" } ?? ""
    for item in sent.values {
      item.answer.resume(returning: .failure(BrokerError(.unknownResult, "produce was not answered\(why)")))
    }
    sent = [:]
    underWay = [:]
    for item in waiting { item.answer.resume(returning: .failure(BrokerError(.unavailable, "produce\(why)"))) }
    waiting = []
  }
}

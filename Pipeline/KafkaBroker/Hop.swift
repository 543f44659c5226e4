import Pipeline
import RdKafka

/// How a member of a group makes outputs and progress durable. Used by one thread.
protocol Hop: AnyObject {
  /// Whether settlements are dear however few records they have.
  var costsTheSameForMore: Bool { get }
  /// Takes the member's name over: its predecessor can do nothing any more.
  func prepare() throws(HopFailure)
  /// Appends the records, and tells the group how far it has come.
  func carryOut(_ records: [PreparedRecord], _ offsets: GroupOffsets?) throws(HopFailure)
}

/// How far a group has come, and under which generation.
struct GroupOffsets {
  let places: [PartitionOffset]
  let membership: GroupMembership
}

/// Why a hop did not happen, or may have.
enum HopFailure: Error {
  /// It was not done.
  case refused(BrokerError)
  /// It was not done: the group is at another generation. Without transactions the records may be there already.
  case staleGroup(KafkaError?, isAppended: Bool)
  /// It was not done: somebody else has the id, or the member's name.
  case fenced(KafkaError)
  /// Nobody knows.
  case unknown(BrokerError)
}

/// An end of patience.
struct Deadline {
  let nanoseconds: Int64
  init(_ patience: Duration) { nanoseconds = monotonicNanoseconds() + patience.microseconds * 1000 }
  var isOver: Bool { monotonicNanoseconds() >= nanoseconds }
}

/// Exactly once: a hop is a transaction, and producers take turns, since a new transaction of the last one's would wait
/// until that one's markers are written.
///
/// One after another: a transaction begins when the one before has been committed, so that what is settled of a partition
/// stays in order. Once a result is unknown, none begins any more: the member has to join again.
final class Rotation: Hop {
  private let transactors: [Transactor]
  private var turn = 0
  private var unknown: BrokerError?

  let costsTheSameForMore = true

  init(_ options: KafkaBroker.Options, id: String) {
    transactors = (0..<max(1, options.rotation)).map {
      Transactor(options, id: "\(id).\($0)", isRenewable: false)
    }
  }

  func prepare() throws(HopFailure) { for one in transactors { try one.prepare() } }

  func carryOut(_ records: [PreparedRecord], _ offsets: GroupOffsets?) throws(HopFailure) {
    if let unknown { throw .unknown(unknown) }
    turn = (turn + 1) % transactors.count
    do throws(HopFailure) { _ = try transactors[turn].transact(records, offsets) } catch {
      if case .unknown = error {
        unknown = BrokerError(.unknownResult, "the result of an earlier settlement is unknown")
      }
      throw error
    }
  }
}

/// At least once: records are appended, then the group's offsets committed. What happens in between is done again.
final class Forwarding: Hop {
  private let options: KafkaBroker.Options
  private var client: ProducerClient?

  let costsTheSameForMore = false

  init(_ options: KafkaBroker.Options) { self.options = options }

  /// The group itself fences whoever had the name.
  func prepare() throws(HopFailure) { _ = try ready() }

  private func ready() throws(HopFailure) -> ProducerClient {
    if let client { return client }
    do throws(KafkaError) {
      let client = try ProducerClient(options.appender)
      self.client = client
      return client
    } catch { throw .refused(BrokerError(error, "cannot append")) }
  }

  func carryOut(_ records: [PreparedRecord], _ offsets: GroupOffsets?) throws(HopFailure) {
    try append(records)
    guard let offsets else { return }
    let deadline = Deadline(options.patience * 2)
    while true {
      do throws(KafkaError) {
        return try offsets.membership.commit(offsets.places, milliseconds: options.patienceMilliseconds)
      } catch {
        switch error.kind {
        case .staleGroup: throw .staleGroup(error, isAppended: true)
        case .fenced: throw .fenced(error)
        case .unavailable where !deadline.isOver: continue
        default: throw .unknown(BrokerError(.unknownResult, "progress was not committed: \(error)"))
        }
      }
    }
  }

  private func append(_ records: [PreparedRecord]) throws(HopFailure) {
    guard !records.isEmpty else { return }
    let client = try ready()
    _ = client.takeReports()
    var failure: KafkaError?
    let deadline = Deadline(options.patience)
    do throws(KafkaError) {
      for (index, record) in records.enumerated() { try client.append(record, token: index, by: deadline) }
    } catch { failure = error }
    var isAnswered = true
    do throws(KafkaError) { try client.flush(milliseconds: options.patienceMilliseconds) } catch {
      isAnswered = false
      failure = error
    }
    failure = client.takeReports().compactMap(\.error).first ?? failure
    if !isAnswered || client.fatalError != nil {
      client.abandon(keeping: records)
      self.client = nil
    }
    if let failure { throw .refused(BrokerError(failure, "append")) }
  }
}

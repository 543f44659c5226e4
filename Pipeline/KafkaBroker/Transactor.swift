import Pipeline
import RdKafka

/// Does one transaction after another with one transactional id. Used by one thread.
///
/// A transaction whose end is unknown ends the producer. A new one under the same id fences it and ends what it left; so
/// a member of a group, which may have been replaced meanwhile, must not make one by itself.
final class Transactor {
  private let options: KafkaBroker.Options
  private let id: String
  private let isRenewable: Bool
  private var client: ProducerClient?
  private var wasMade = false

  /// - Parameter isRenewable: whether a producer that ended is replaced by a new one.
  init(_ options: KafkaBroker.Options, id: String, isRenewable: Bool) {
    self.options = options
    self.id = id
    self.isRenewable = isRenewable
  }

  /// Takes the transactional id over, if that was not done yet.
  func prepare() throws(HopFailure) { _ = try ready() }

  /// Ends the producer, so that the next transaction begins with a new one.
  func renew() { client = nil }

  private func ready() throws(HopFailure) -> ProducerClient {
    if let client { return client }
    guard !wasMade || isRenewable else {
      throw .unknown(BrokerError(.unknownResult, "the result of an earlier settlement is unknown"))
    }
    do throws(KafkaError) {
      let client = try ProducerClient(options.producer(id: id))
      let deadline = Deadline(options.patience * 2)
      while true {
        do throws(KafkaError) {
          try client.initTransactions(milliseconds: options.patienceMilliseconds)
          break
        } catch { if !error.isRetriable || deadline.isOver { throw error } }
      }
      self.client = client
      wasMade = true
      return client
    } catch {
      throw .refused(BrokerError(error, "cannot begin transactions as \(id)"))
    }
  }

  /// Appends the records and commits the offsets, all or nothing. Returns the records' offsets.
  func transact(_ records: [PreparedRecord], _ offsets: GroupOffsets? = nil) throws(HopFailure) -> [Int64] {
    let client = try ready()
    _ = client.takeReports()
    let patience = Deadline(options.patience * 2)
    do throws(KafkaError) {
      try client.begin()
      for (index, record) in records.enumerated() { try client.append(record, token: index, by: patience) }
      // First, so that nothing is left to be thrown away should the group be at another generation: librdkafka 2.0.2
      // counts that all the same, and the partition's next record would be refused for the gap.
      try deliver(client)
      if let offsets {
        try client.sendOffsets(
          offsets.places, of: offsets.membership, milliseconds: options.patienceMilliseconds)
      }
    } catch {
      throw rollBack(client, records, error)
    }
    let deadline = Deadline(options.patience * 2)
    while true {
      do throws(KafkaError) {
        try client.commit(milliseconds: options.patienceMilliseconds)
        break
      } catch {
        if error.requiresAbort { throw rollBack(client, records, error) }
        if error.isRetriable, !deadline.isOver { continue }
        abandon(client, records)
        throw .unknown(BrokerError(.unknownResult, "the commit was not answered: \(error)"))
      }
    }
    var result = [Int64](repeating: -1, count: records.count)
    for report in client.takeReports() where result.indices.contains(report.token) {
      result[report.token] = report.offset
    }
    return result
  }

  /// Waits until every record is appended, or one is refused.
  private func deliver(_ client: ProducerClient) throws(KafkaError) {
    let deadline = Deadline(options.patience)
    while true {
      do throws(KafkaError) { return try client.flush(milliseconds: 100) } catch {
        // Behind one that was refused, no other is sent any more.
        if deadline.isOver || client.hasFailures || client.fatalError != nil { throw error }
      }
    }
  }

  private func abandon(_ client: ProducerClient, _ records: [PreparedRecord]) {
    client.abandon(keeping: records)
    self.client = nil
  }

  /// Aborts, and says what is known then.
  private func rollBack(_ client: ProducerClient, _ records: [PreparedRecord], _ error: KafkaError) -> HopFailure {
    let deadline = Deadline(options.patience * 2)
    var isAborted = false
    while !isAborted, client.fatalError == nil {
      do throws(KafkaError) {
        try client.abort(milliseconds: options.patienceMilliseconds)
        isAborted = true
      } catch { if !error.isRetriable || deadline.isOver { break } }
    }
    // What a record met says more than what the transaction made of it. Reports may come as late as with the abort.
    let refusals = client.takeReports().compactMap(\.error)
    let error = refusals.first { $0.kind != .other && $0.code > 0 } ?? error
    // Without an answer to the abort the producer is of no use; the broker aborts by itself in time. Nothing was
    // committed in either case.
    //
    // Nor after a record was refused or thrown away: librdkafka 2.0.2 counts it all the same, and every later record of
    // the partition would be refused for the gap.
    if !isAborted || !refusals.isEmpty { abandon(client, records) }
    switch (client.fatalError ?? error).kind {
    case .fenced: return .fenced(client.fatalError ?? error)
    case .staleGroup: return .staleGroup(error, isAppended: false)
    default: break
    }
    if !isAborted, !isRenewable { return .unknown(BrokerError(.unknownResult, "the abort was not answered: \(error)")) }
    return .refused(BrokerError(error, "the transaction was aborted"))
  }
}

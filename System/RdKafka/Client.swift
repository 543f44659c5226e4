import CRdKafka
import Glibc

/// A librdkafka client, and what its callbacks reach: freed when the last one that needs it is gone.
///
/// Messages point into the client's memory, so a batch keeps it. Freeing it waits for librdkafka's own threads: a
/// thread of its own does that, since the last reference may go anywhere.
final class Client: @unchecked Sendable {
  // Safe to share: librdkafka's handles are thread-safe, and `events` is touched by the polling thread only.

  /// What the callbacks reach.
  final class Events {
    let wake: (@Sendable () -> Void)?
    var rebalances: [ConsumerClient.Event] = []
    var reports: [ProducerClient.Report] = []
    /// What librdkafka said of connections, for those who ask: see `AdminClient.takeTrouble`.
    var trouble: [KafkaError] = []
    /// What records point to that were never reported.
    var kept: (any Sendable)?
    /// Nobody answers rebalances any more.
    var isClosing = false
    /// Freeing the client would hang, or end the process: better that it stays.
    var mustNotBeFreed = false
    init(wake: (@Sendable () -> Void)?) { self.wake = wake }
  }

  let raw: OpaquePointer
  let events: Events
  private let context: Unmanaged<Events>

  init(
    _ type: rd_kafka_type_t, _ settings: [String: String], keepsTrouble: Bool = false,
    wake: (@Sendable () -> Void)? = nil
  ) throws(KafkaError) {
    guard let configuration = rd_kafka_conf_new() else { throw KafkaError(RD_KAFKA_RESP_ERR__FAIL, "out of memory") }
    let events = Events(wake: wake)
    let context = Unmanaged.passRetained(events)
    var text = [CChar](repeating: 0, count: 512)
    do throws(KafkaError) {
      for (name, value) in settings.sorted(by: { $0.key < $1.key }) {
        guard rd_kafka_conf_set(configuration, name, value, &text, text.count) == RD_KAFKA_CONF_OK else {
          throw KafkaError(badSetting: Self.string(text))
        }
      }
      rd_kafka_conf_set_opaque(configuration, context.toOpaque())
      if keepsTrouble { rd_kafka_conf_set_error_cb(configuration, onTrouble) }
      if type == RD_KAFKA_CONSUMER {
        rd_kafka_conf_set_rebalance_cb(configuration, onRebalance)
      } else {
        rd_kafka_conf_set_dr_msg_cb(configuration, onDelivery)
      }
      guard let raw = rd_kafka_new(type, configuration, &text, text.count) else {
        throw KafkaError(badSetting: Self.string(text))
      }
      self.raw = raw
    } catch {
      rd_kafka_conf_destroy(configuration)
      context.release()
      throw error
    }
    self.events = events
    self.context = context
  }

  deinit {
    if events.mustNotBeFreed { return }
    let remains = Unmanaged.passRetained(Remains(raw: raw, context: context))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    var thread = pthread_t()
    let failed = pthread_create(&thread, &attributes, buryClient, remains.toOpaque())
    pthread_attr_destroy(&attributes)
    if failed != 0 { _ = buryClient(remains.toOpaque()) }
  }

  fileprivate final class Remains {
    let raw: OpaquePointer
    let context: Unmanaged<Events>
    init(raw: OpaquePointer, context: Unmanaged<Events>) {
      self.raw = raw
      self.context = context
    }
  }

  static func string(_ text: [CChar]) -> String {
    String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The error that ended the client, if one did.
  var fatalError: KafkaError? {
    var text = [CChar](repeating: 0, count: 512)
    let code = rd_kafka_fatal_error(raw, &text, text.count)
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(code, Self.string(text), isFatal: true)
  }
}

private func buryClient(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  let remains = Unmanaged<Client.Remains>.fromOpaque(context).takeRetainedValue()
  rd_kafka_destroy(remains.raw)
  remains.context.release()
  return nil
}

private func onRebalance(
  _ client: OpaquePointer?, _ error: rd_kafka_resp_err_t,
  _ partitions: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?, _ context: UnsafeMutableRawPointer?
) {
  guard let client, let context else { return }
  let events = Unmanaged<Client.Events>.fromOpaque(context).takeUnretainedValue()
  events.mustNotBeFreed = false
  if events.isClosing {
    rd_kafka_assign(client, nil)
    return
  }
  let list = PartitionList.read(partitions)
  if error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
    events.rebalances.append(.assign(list))
  } else {
    events.rebalances.append(.revoke(list, isLost: rd_kafka_assignment_lost(client) != 0))
  }
}

private func onDelivery(
  _ client: OpaquePointer?, _ message: UnsafePointer<rd_kafka_message_t>?, _ context: UnsafeMutableRawPointer?
) {
  guard let message, let context else { return }
  let events = Unmanaged<Client.Events>.fromOpaque(context).takeUnretainedValue()
  let error = message.pointee.err
  events.reports.append(
    .init(
      token: Int(bitPattern: message.pointee._private), offset: message.pointee.offset,
      error: error == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(error),
      mayBeThere: rd_kafka_message_status(message) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED))
}

private func onTrouble(
  _ client: OpaquePointer?, _ code: Int32, _ reason: UnsafePointer<CChar>?, _ context: UnsafeMutableRawPointer?
) {
  guard let context else { return }
  let events = Unmanaged<Client.Events>.fromOpaque(context).takeUnretainedValue()
  guard events.trouble.count < 20 else { return }
  events.trouble.append(KafkaError(rd_kafka_resp_err_t(code), reason.map { String(cString: $0) }))
}

/// Called by librdkafka's threads when a queue that was empty is not any more.
func onQueue(_ client: OpaquePointer?, _ context: UnsafeMutableRawPointer?) {
  guard let context else { return }
  Unmanaged<Client.Events>.fromOpaque(context).takeUnretainedValue().wake?()
}

extension Client {
  /// Has `wake` called when the queue is not empty any more.
  func watch(_ queue: OpaquePointer) { rd_kafka_queue_cb_event_enable(queue, onQueue, context.toOpaque()) }
}

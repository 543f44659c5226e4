public import Mail
public import Pipeline

/// Makes stored messages findable. Behind `store`: what was stored in no mailbox here goes on unindexed.
///
/// A batch is one transaction of the index. A repeat finds the same document there, and changes nothing; a message that
/// its owner has deleted meanwhile stays out.
public struct IndexStage: BatchStage {
  /// The most messages of one batch.
  public static let batchLimit = 128

  private let index: any SearchIndex
  private let store: MailStore

  /// A stage that adds to `index` what is in `store`.
  public init(index: any SearchIndex, store: MailStore) {
    self.index = index
    self.store = store
  }

  /// Adds the stage under the name `index`.
  public static func register(in registry: inout StageRegistry, index: any SearchIndex, store: MailStore) {
    registry.register(
      "index", "Makes stored messages findable.", options: NoOptions.self, needsDataFolder: { _ in true }
    ) { _, _ in .batch(IndexStage(index: index, store: store), limit: batchLimit) }
  }

  /// See `BatchStage.probe`.
  public func probe() async throws {
    do { try await index.probe() } catch { throw error.stageError }
  }

  /// See `BatchStage.process`.
  public func process(_ batch: [Message], _ context: StageContext) async throws -> [Outcome] {
    let copies = batch.map { StoredCopy($0) }
    let found: [StoredPlace?]
    do { found = try await store.places(of: copies.compactMap { $0 }) } catch { throw error.stageError }
    var places = found[...]
    var outcomes: [Outcome] = []
    var documents: [SearchDocument] = []
    for (message, copy) in zip(batch, copies) {
      outcomes.append(.forward(message))
      guard copy != nil, let place = places.popFirst() ?? nil else { continue }
      do { documents.append(Self.document(try await message.content.load(), place)) } catch let error as StageError
        where error.kind == .permanent
      {
        // Of this message alone; the others of the batch go on.
        outcomes[outcomes.count - 1] = .reject(reason: error.reason, message: error.message)
      }
    }
    do { try await index.add(documents) } catch { throw error.stageError }
    context.metrics.add("mailflow_indexed_total", documents.count)
    return outcomes
  }

  /// What is found of a message.
  static func document(_ bytes: Bytes, _ place: StoredPlace) -> SearchDocument {
    let mime = MIMEMessage(bytes)
    func text(_ names: String...) -> String {
      names.compactMap { mime.header.first($0)?.display() }.joined(separator: " ")
    }
    return SearchDocument(
      mailbox: place.mailbox, id: place.id, received: place.received, subject: text("subject"),
      from: text("from", "sender"), to: text("to", "cc"), text: mime.text(limit: SearchDocument.maximumText),
      attachments: mime.attachments.compactMap(\.fileName), hasAttachment: mime.hasAttachment)
  }
}

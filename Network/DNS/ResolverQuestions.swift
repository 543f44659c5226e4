import Unbound

/// The part of a resolver that lives on the loop's thread: the questions and libunbound's context.
final class ResolverQuestions: @unchecked Sendable {
  // Safe to share: everything that varies is touched by the loop's thread only.
  typealias Outcome = Result<Resolver.Answer<DNSRecord.Data>, Resolver.Failure>

  /// A question of a task.
  final class Question: @unchecked Sendable {
    // Safe to share: like the rest.
    let name: DNSName
    let kind: DNSRecord.Kind
    fileprivate var continuation: UnsafeContinuation<Outcome, Never>?
    fileprivate var timer: LoopTimer?
    fileprivate var isOver = false

    init(_ name: DNSName, _ kind: DNSRecord.Kind) { (self.name, self.kind) = (name, kind) }
  }

  private let loop: EventLoop
  private let options: Resolver.Options
  private var context: UnboundContext?
  private var isClosed = false
  private var waiting: [Question] = []
  private var asked: [ObjectIdentifier: Question] = [:]
  /// With those that nobody waits for any more: libunbound goes on with them, as long as it takes.
  private var underWay = 0
  private var isBeginning = false

  init(_ loop: EventLoop, _ options: Resolver.Options) {
    self.loop = loop
    self.options = options
  }

  func ask(_ question: Question, _ continuation: UnsafeContinuation<Outcome, Never>) {
    question.continuation = continuation
    guard !question.isOver, !isClosed else { return end(question, .failure(.cancelled)) }
    waiting.append(question)
    begin()
    // What is in the cache is answered by now.
    guard !question.isOver else { return }
    if waiting.count > max(0, options.waiting) {
      waiting.removeLast()  // this one
      return end(question, .failure(.overloaded))
    }
    // Weak: the loop keeps the timer alive, and it must not keep us.
    question.timer = try? LoopTimer(loop) { [weak self, weak question] in
      if let question { self?.giveUp(question, .timedOut) }
    }
    if let timer = question.timer { timer.start(after: options.timeout) } else { giveUp(question, .noMemory) }
  }

  func cancel(_ question: Question) { giveUp(question, .cancelled) }

  func check() -> Resolver.Failure? {
    do throws(Resolver.Failure) {
      _ = try opened()
      return nil
    } catch { return error }
  }

  var load: (asked: Int, waiting: Int, underWay: Int) { (asked.count, waiting.count, underWay) }

  func close() {
    isClosed = true
    for question in waiting + asked.values { end(question, .failure(.cancelled)) }
    (waiting, asked) = ([], [:])
    let context = context
    self.context = nil
    context?.close()
  }

  /// Nobody waits for it any more.
  private func giveUp(_ question: Question, _ failure: Resolver.Failure) {
    if asked.removeValue(forKey: ObjectIdentifier(question)) == nil { waiting.removeAll { $0 === question } }
    end(question, .failure(failure))
    begin()
  }

  private func end(_ question: Question, _ outcome: Outcome) {
    question.isOver = true
    question.timer?.cancel()
    question.timer = nil
    question.continuation?.resume(returning: outcome)
    question.continuation = nil
  }

  /// Asks what waits, as far as there is room. What is answered at once makes room for more, without recursion.
  private func begin() {
    guard !isBeginning else { return }
    isBeginning = true
    defer { isBeginning = false }
    let concurrent = max(1, options.concurrent)
    while asked.count < concurrent, underWay < 4 * concurrent, !waiting.isEmpty { send(waiting.removeFirst()) }
  }

  private func send(_ question: Question) {
    asked[ObjectIdentifier(question)] = question
    underWay += 1
    do throws(Resolver.Failure) {
      let context = try opened()
      do throws(UnboundError) {
        try context.resolve(question.name.description, type: question.kind.rawValue) { [weak self] answer in
          self?.take(answer, for: question)
        }
      } catch { throw .unusable(error.reason) }
    } catch {
      underWay -= 1
      asked[ObjectIdentifier(question)] = nil
      end(question, .failure(error))
    }
  }

  private func take(_ answer: UnboundContext.Answer, for question: Question) {
    underWay -= 1
    if asked.removeValue(forKey: ObjectIdentifier(question)) != nil { end(question, outcome(answer, question)) }
    begin()
  }

  private func outcome(_ answer: UnboundContext.Answer, _ question: Question) -> Outcome {
    guard answer.code == 0 else { return .failure(.server(code: answer.code)) }
    guard answer.security != .bogus else { return .failure(.bogus(answer.reason)) }
    guard answer.message.count <= options.answerLimit else { return .failure(.tooLarge) }
    guard let message = try? DNSMessage(parsing: answer.message) else { return .failure(.malformed) }
    return message.answer(question.name, question.kind, answer.security == .secure ? .secure : .insecure)
  }

  private func opened() throws(Resolver.Failure) -> UnboundContext {
    if let context { return context }
    guard !isClosed else { throw .cancelled }
    do throws(UnboundError) {
      let new = try UnboundContext(loop.base)
      do throws(UnboundError) {
        try new.apply(options)
      } catch {
        new.close()
        throw error
      }
      context = new
      return new
    } catch { throw .unusable(error.reason) }
  }
}

extension Resolver.Failure {
  static let noMemory = Resolver.Failure.unusable("no memory for a question to name servers")
}

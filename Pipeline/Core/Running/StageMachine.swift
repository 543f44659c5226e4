/// Everything that a stage's runner decides, as a value: what is in hand, what may start, what may be settled, what is
/// late. It does no I/O and reads no clock; `StageRunner` feeds it and does what it says, under one lock.
struct StageMachine {
  /// Work whose record was moved to the slow lane while it goes on.
  private struct Detached {
    let run: Run
    /// The record of the slow lane, once it has come back.
    var item: Item?
    /// What came of it, if it ended before.
    var result: Result<Outcome, StageError>?
    var ended: Timestamp?
  }

  private struct Partition {
    var window = OffsetWindow<Item>()
    let generation: Int64
    var isRevoking = false
    var delayed = 0
    var isPaused = false
    /// Whether some of it is being settled now.
    var isSettling = false
  }

  let settings: Topology.StageSettings
  let disposer: Disposer
  let batchLimit: Int?
  /// How many records may be ready to start.
  let prefetch: Int
  /// How many records may be in hand in all.
  static let maximumInHand = 16_384

  private var partitions: [TopicPartition: Partition] = [:]
  private var ready = Queue<Item>()
  private var slowReady = Queue<Item>()
  private var delayed: [Item] = []
  private var runs: [Int: Run] = [:]
  private var detached: [MessageID: Detached] = [:]
  private var nextRun = 0
  private var busyKeys: Set<Bytes> = []
  private var waitingForKey: [Bytes: Queue<Item>] = [:]
  private(set) var circuit = Circuit()
  private(set) var pullers = 0
  private(set) var inHand = 0
  private(set) var isDraining = false
  private var fastActive = 0
  private var slowActive = 0
  /// How long a message usually takes, of those that were not moved aside: a moving average.
  private var usual: Duration
  /// Nothing has to be looked at before; may be too early, never too late. `tick` makes it exact.
  private(set) var nextMoment = Timestamp.distantFuture

  init(settings: Topology.StageSettings, disposer: Disposer, batchLimit: Int?, prefetch: Int) {
    self.settings = settings
    self.disposer = disposer
    self.batchLimit = batchLimit
    self.prefetch = prefetch
    usual = settings.slowAfter / 4
  }

  // MARK: Records come in

  /// How many records to ask for now; 0: wait.
  var fetchLimit: Int {
    isDraining ? 0 : max(0, min(prefetch - ready.count, Self.maximumInHand - inHand))
  }

  /// Takes records that were decoded; `done` ones need no work (moved on, malformed).
  mutating func add(_ items: [(item: Item, done: [OutgoingRecord]?)], at now: Timestamp) {
    for (item, done) in items {
      partitions[item.partition, default: Partition(generation: item.record.generation)].window.append(item)
      inHand += 1
      if let done { item.progress = .done(done) } else { place(item, at: now) }
    }
  }

  private mutating func place(_ item: Item, at now: Timestamp) {
    if item.lane == .slow {
      if detached[item.message.id] != nil { bind(item) } else { slowReady.push(item) }
    } else if let due = item.due, due > now {
      delay(item, until: due)
    } else {
      enqueue(item)
    }
  }

  private mutating func delay(_ item: Item, until due: Timestamp) {
    delayed.append(item)
    partitions[item.partition]?.delayed += 1
    nextMoment = min(nextMoment, due)
  }

  private mutating func enqueue(_ item: Item) {
    switch settings.order {
    case .none: ready.push(item)
    case .key:
      if busyKeys.insert(item.message.key).inserted {
        ready.push(item)
      } else {
        waitingForKey[item.message.key, default: Queue()].push(item)
      }
    case .strict:
      // Only the first that is not done is ever ready; the others follow when it is.
      if head(of: item.partition) === item { ready.push(item) }
    }
  }

  // MARK: Work starts

  /// Whether another puller would find something to do: every one that there is has its hands full.
  func wantsPuller(at now: Timestamp) -> Bool {
    guard !isDraining, pullers <= runs.count, circuit.allowance(at: now) != 0 else { return false }
    return !ready.isEmpty && fastActive < settings.concurrency
      || !slowReady.isEmpty && slowActive < settings.slowBudget
  }

  mutating func pullerStarted() { pullers += 1 }
  mutating func pullerEnded() { pullers -= 1 }

  /// The next call of the stage; nil: nothing to do for this puller.
  mutating func take(at now: Timestamp) -> Run? {
    guard !isDraining else { return nil }
    let allowance = circuit.allowance(at: now)
    guard allowance != 0 else { return nil }
    if fastActive < settings.concurrency, let run = start(slow: false, allowance, at: now) { return run }
    if slowActive < settings.slowBudget { return start(slow: true, allowance, at: now) }
    return nil
  }

  private mutating func start(slow: Bool, _ allowance: Int?, at now: Timestamp) -> Run? {
    var items: [Item] = []
    let limit = allowance ?? batchLimit ?? 1
    while items.count < limit, let item = slow ? slowReady.pop() : ready.pop() {
      if item.isLost { continue }
      item.progress = .active
      item.started = now
      items.append(item)
    }
    guard !items.isEmpty else { return nil }
    circuit.started()
    nextRun += 1
    let run = Run(
      id: nextRun, items: items, started: now, deadline: now + (items[0].limit ?? settings.timeout), isSlow: slow)
    runs[run.id] = run
    nextMoment = min(nextMoment, moment(of: run))
    if slow { slowActive += 1 } else { fastActive += 1 }
    return run
  }

  // MARK: Work ends

  /// Takes what came of a run: for each item the outcome and its records, or the error.
  mutating func finish(_ run: Run, _ endings: [Ending], at now: Timestamp) {
    runs[run.id] = nil
    if run.isSlow { slowActive -= 1 } else { fastActive -= 1 }
    run.task = nil
    if !run.isSlow, run.cancellation == nil { usual = (usual * 7 + (now - run.started)) / 8 }
    if let failed = endings.last(where: \.isDependencyDown), let error = failed.error {
      circuit.failed(error.message, at: now)
    } else if run.cancellation == nil || run.cancellation == .timeout {
      circuit.passed()
    } else {
      circuit.abandoned(at: now)
    }
    if let probeAt = circuit.probeAt { nextMoment = min(nextMoment, probeAt) }
    for index in run.items.indices where index < endings.count {
      finish(run.items[index], run, endings[index], at: now)
      watchHead(of: run.items[index].partition)
    }
  }

  private mutating func finish(_ item: Item, _ run: Run, _ ending: Ending, at now: Timestamp) {
    item.started = nil
    if !detached.isEmpty, let entry = detached[item.message.id], entry.run === run {
      finishDetached(item.message.id, entry, ending.result, at: now)
      return
    }
    guard !item.isLost, !item.isDone else {
      freeKey(of: item)
      return
    }
    if ending.isDependencyDown {
      requeue(item)
    } else if run.cancellation == .drain || run.cancellation == .lost, ending.error != nil {
      item.progress = .waiting  // given back: whoever gets the partition starts it again
    } else if settings.order == .strict, let again = retryInPlace(item, ending.result, at: now) {
      item.progress = .waiting
      item.again = again
      delay(item, until: again)
    } else {
      item.progress = .done(ending.outputs)
      freeKey(of: item)
      advance(behind: item)
    }
  }

  private mutating func requeue(_ item: Item) {
    item.progress = .waiting
    // Where order allows, another one asks next: the dependency may be down for this message only.
    switch (settings.order, item.lane) {
    case (.none, .slow): slowReady.push(item)
    case (.none, _): ready.push(item)
    case (_, .slow): slowReady.pushFront(item)
    default: ready.pushFront(item)
    }
  }

  private mutating func freeKey(of item: Item) {
    guard settings.order == .key, item.lane != .slow else { return }
    let key = item.message.key
    while let next = waitingForKey[key]?.pop() {
      if next.isLost { continue }
      ready.push(next)
      return
    }
    waitingForKey[key] = nil
    busyKeys.remove(key)
  }

  /// With strict order: the next record of the partition becomes ready.
  private mutating func advance(behind item: Item) {
    guard settings.order == .strict, let next = head(of: item.partition) else { return }
    if case .waiting = next.progress, next.again == nil { ready.push(next) }
  }

  private func head(of partition: TopicPartition) -> Item? {
    partitions[partition]?.window.first { !$0.isDone }
  }

  /// With strict order a failed message keeps its place and is tried again there; nil: it is over.
  private func retryInPlace(_ item: Item, _ result: Result<Outcome, StageError>, at now: Timestamp) -> Timestamp? {
    var after: Duration?
    switch result {
    case .failure(let error) where error.kind == .transient: break
    case .success(.retry(_, let wish)): after = wish
    default: return nil
    }
    item.failures += 1
    guard
      case .again(_, let delay) = disposer.schedule.decide(failures: item.failures, spent: item.spent, after: after)
    else { return nil }
    item.spent += delay
    return now + delay
  }

  // MARK: The slow lane

  /// The slow lane's record of work that still goes on, or has just ended.
  private mutating func bind(_ item: Item) {
    let id = item.message.id
    guard var entry = detached[id] else { return }
    item.progress = .active
    entry.item = item
    detached[id] = entry
    if let result = entry.result { settleDetached(id, entry, item, result, at: entry.ended ?? entry.run.started) }
  }

  private mutating func finishDetached(
    _ id: MessageID, _ entry: Detached, _ result: Result<Outcome, StageError>, at now: Timestamp
  ) {
    var startAgain = false
    if case .failure(let error) = result {
      startAgain = entry.run.cancellation.map { $0 != .timeout } ?? false
      if case .dependencyDown = error.kind { startAgain = true }
    }
    if startAgain {
      detached[id] = nil
      if let item = entry.item, !item.isLost {
        item.progress = .waiting
        slowReady.push(item)
      }
    } else if let item = entry.item {
      settleDetached(id, entry, item, result, at: now)
    } else {
      detached[id]?.result = result
      detached[id]?.ended = now
    }
  }

  private mutating func settleDetached(
    _ id: MessageID, _ entry: Detached, _ item: Item, _ result: Result<Outcome, StageError>, at now: Timestamp
  ) {
    detached[id] = nil
    guard !item.isLost else { return }
    let work = Disposer.Work(started: entry.run.started, ended: now, queued: entry.run.items[0].queuedAt)
    switch result {
    case .success(let outcome):
      item.progress = .done(disposer.outputs(of: outcome, item.message, in: item.record, work))
    case .failure(let error):
      item.progress = .done(disposer.outputs(of: error, item.message, in: item.record, work))
    }
  }

  // MARK: Time passes

  /// The least time after which work is taken for an outlier.
  private static let shortestPatience = Duration.milliseconds(10)

  /// How long the first message of a partition may take while others behind it are done and wait: what is far beyond
  /// the usual is moved aside, at the latest after `slowAfter`.
  private var patience: Duration { min(settings.slowAfter, max(Self.shortestPatience, usual * 4)) }

  /// When this run has to be looked at again, unless it ends before.
  private func moment(of run: Run) -> Timestamp {
    var moment = run.cancellation == nil ? run.deadline : .distantFuture
    guard mayBecomeSlow(run) else { return moment }
    moment = min(moment, run.started + settings.slowAfter)
    return isInTheWay(run) ? min(moment, run.started + patience) : moment
  }

  /// Others may wait for the first of the partition from now on.
  private mutating func watchHead(of partition: TopicPartition) {
    guard settings.order == .none, batchLimit == nil, let window = partitions[partition]?.window else { return }
    guard window.count > 1, let started = window.first?.started else { return }
    nextMoment = min(nextMoment, started + patience)
  }

  /// Cancels what is past its time, moves aside what others wait for, releases what is due.
  mutating func tick(at now: Timestamp) {
    for run in inOrder {
      if now >= run.deadline { run.cancel(.timeout) }
      guard mayBecomeSlow(run) else { continue }
      let age = now - run.started
      if age >= settings.slowAfter || age >= patience && isInTheWay(run) { moveAside(run, at: now) }
      if age >= settings.slowAfter { becomeSlow(run) }
    }
    if delayed.contains(where: { ($0.again ?? $0.due ?? now) <= now }) {
      let due = delayed.filter { ($0.again ?? $0.due ?? now) <= now }
      delayed.removeAll { ($0.again ?? $0.due ?? now) <= now }
      for item in due {
        partitions[item.partition]?.delayed -= 1
        guard !item.isLost else { continue }
        if item.again != nil { ready.push(item) } else { enqueue(item) }
      }
    }
    nextMoment = runs.values.reduce(.distantFuture) { min($0, moment(of: $1)) }
    for item in delayed { if let due = item.again ?? item.due { nextMoment = min(nextMoment, due) } }
    if let probeAt = circuit.probeAt, probeAt > now { nextMoment = min(nextMoment, probeAt) }
  }

  /// Order forbids it to be overtaken, and a batch has no single message that is slow.
  private func mayBecomeSlow(_ run: Run) -> Bool {
    settings.order == .none && batchLimit == nil && !run.isSlow && run.cancellation == nil && !run.items[0].isLost
  }

  private func isAside(_ run: Run) -> Bool { detached[run.items[0].message.id]?.run === run }

  /// Whether it is the first of its partition, and one behind it is done.
  private func isInTheWay(_ run: Run) -> Bool {
    guard let window = partitions[run.items[0].partition]?.window, window.first === run.items[0] else { return false }
    return window.first(where: \.isDone) != nil
  }

  /// Its record goes to the slow lane, in a settlement like any other, and those behind it go on.
  private mutating func moveAside(_ run: Run, at now: Timestamp) {
    let item = run.items[0]
    guard detached[item.message.id] == nil else { return }
    item.progress = .done(disposer.aside(item.message, .slow, to: disposer.topics.slow, at: now))
    item.started = nil
    detached[item.message.id] = Detached(run: run)
  }

  /// From here on it uses the slow budget, and another message may begin.
  private mutating func becomeSlow(_ run: Run) {
    guard isAside(run) else { return }
    fastActive -= 1
    slowActive += 1
    run.isSlow = true
    // Beyond the budget the work is given up here, and begins again from the lane when there is room.
    if slowActive > settings.slowBudget { run.cancel(.overBudget) }
  }

  // MARK: Settling

  /// What can be settled now: the done prefix of every partition, at most `limit` records; nil: nothing.
  mutating func takePrefix(limit: Int) -> Prefix? {
    var prefix = Prefix()
    var left = limit
    for key in partitions.keys.sorted() where left > 0 {
      guard let items = partitions[key]?.window.takePrefix(left, where: \.isDone), !items.isEmpty else { continue }
      left -= items.count
      inHand -= items.count
      watchHead(of: key)
      partitions[key]?.isSettling = true
      prefix.partitions.append((key, items))
    }
    return prefix.partitions.isEmpty ? nil : prefix
  }

  /// What was taken is settled.
  mutating func settled(_ prefix: Prefix) {
    for (key, _) in prefix.partitions { partitions[key]?.isSettling = false }
  }

  // MARK: Partitions come and go

  /// Stops starting work of these partitions. True once nothing of them is active and all that is done was taken.
  mutating func revoke(_ revoked: [TopicPartition]) {
    for key in revoked { partitions[key]?.isRevoking = true }
    let isRevoked = { (item: Item) in revoked.contains(item.partition) }
    for key in waitingForKey.keys { waitingForKey[key]?.removeAll(where: isRevoked) }
    ready.removeAll(where: isRevoked).forEach { freeKey(of: $0) }
    slowReady.removeAll(where: isRevoked)
    delayed.removeAll(where: isRevoked)
    // The slow lane's partition goes with the work topic's: its next owner begins the work again.
    let numbers = Set(revoked.map(\.partition))
    let away = detached.filter { numbers.contains($0.value.run.items[0].partition.partition) }
    for (id, entry) in away.sorted(by: { $0.value.run.id < $1.value.run.id }) {
      entry.run.cancel(.lost)
      detached[id] = nil
    }
  }

  /// Whether work of these partitions still goes on, waits to be settled, or is being settled.
  func isBusy(_ revoked: [TopicPartition]) -> Bool {
    revoked.contains { key in
      runs.values.contains { $0.items.contains { $0.partition == key && !$0.isLost && !$0.isDone } }
        || partitions[key].map { $0.isSettling || $0.window.first?.isDone == true } ?? false
    }
  }

  /// Cancels work of these partitions, in whichever lane it has gone on.
  func cancelWork(of revoked: [TopicPartition]) {
    for run in inOrder where run.items.contains(where: { revoked.contains($0.partition) }) { run.cancel(.lost) }
  }
  /// By age: what happens in a simulation must not depend on the order of a dictionary.
  private var inOrder: [Run] { runs.values.sorted { $0.id < $1.id } }

  /// Forgets these partitions: whatever comes of what was in hand is thrown away.
  mutating func forget(_ lost: [TopicPartition]) {
    cancelWork(of: lost)
    revoke(lost)
    for key in lost {
      guard var partition = partitions.removeValue(forKey: key) else { continue }
      for item in partition.window.removeAll() {
        inHand -= 1
        item.progress = .lost
      }
    }
  }

  /// Starts nothing more.
  mutating func drain() { isDraining = true }
  /// Gives up what still goes on.
  func cancelAll() { for run in inOrder { run.cancel(.drain) } }
  var isIdle: Bool { runs.isEmpty }
  var assigned: [TopicPartition] { partitions.keys.sorted() }

  // MARK: Back pressure

  /// Which partitions have enough in hand that cannot start yet, and which can go on.
  mutating func pauseChanges() -> (pause: [TopicPartition], resume: [TopicPartition]) {
    var pause: [TopicPartition] = []
    var resume: [TopicPartition] = []
    let isSlowFull = slowReady.count >= max(1, settings.slowBudget)
    for key in partitions.keys.sorted() {
      guard let partition = partitions[key], !partition.isRevoking else { continue }
      let wanted = key.topic == disposer.topics.slow ? isSlowFull : partition.delayed > 0
      guard wanted != partition.isPaused else { continue }
      partitions[key]?.isPaused = wanted
      if wanted { pause.append(key) } else { resume.append(key) }
    }
    return (pause, resume)
  }
}

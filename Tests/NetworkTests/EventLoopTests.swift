import Glibc
import Synchronization
import Testing

@testable import Network

@Suite(.timeLimit(.minutes(1))) struct EventLoopTests {
  @Test func codeRunsOnTheLoopsThreadAlsoAfterWaits() async throws {
    try await withLoop { loop in
      #expect(!loop.isOnLoop)
      try await loop.run {
        #expect(loop.isOnLoop)
        await Task.yield()
        #expect(loop.isOnLoop)
        try await loop.sleep(for: .milliseconds(1))
        #expect(loop.isOnLoop)
        await withTaskGroup(of: Bool.self) { group in
          for _ in 0..<4 { group.addTask { loop.isOnLoop } }
          for await isOnLoop in group { #expect(isOnLoop) }
        }
      }
    }
  }

  @Test func callsFromManyThreadsAllRunInTheirThreadsOrder() async throws {
    try await withLoop { loop in
      let done = Event<Void>()
      let seen = Locked<[[Int]]>(Array(repeating: [], count: 4))
      await withTaskGroup(of: Void.self) { group in
        for thread in 0..<4 {
          group.addTask {
            for index in 0..<1000 { loop.execute { seen.withLock { $0[thread].append(index) } } }
          }
        }
      }
      loop.execute { done.send(()) }
      _ = await done.next()
      #expect(seen.withLock { $0 } == Array(repeating: Array(0..<1000), count: 4))
    }
  }

  @Test func sleepersWakeInTheOrderOfTheirTimes() async throws {
    try await withLoop { loop in
      let order = Locked<[Int]>([])
      try await withThrowingTaskGroup(of: Void.self) { group in
        for time in [60, 1, 30] {
          group.addTask {
            try await loop.sleep(for: .milliseconds(time))
            order.withLock { $0.append(time) }
          }
        }
        try await group.waitForAll()
      }
      #expect(order.withLock { $0 } == [1, 30, 60])
    }
  }

  @Test func aCancelledSleeperWakesAtOnce() async throws {
    try await withLoop { loop in
      let sleeper = Task { await caught { () async throws(NetworkError) in try await loop.sleep(for: .seconds(600)) } }
      sleeper.cancel()
      #expect(await sleeper.value == .cancelled)
    }
  }

  @Test func aStoppedLoopLetsGoOfItself() async throws {
    weak var gone: EventLoop?
    let ended = Event<Void>()
    do {
      let loop = try EventLoop()
      gone = loop
      await loop.run { ended.send(()) }
      loop.stop()
    }
    _ = await ended.next()
    for _ in 0..<5000 where gone != nil { usleep(1000) }  // its thread ends by itself; the limit is for failures
    #expect(gone == nil)
  }

  /// The end of the loop must not be overlooked because something else came with it.
  @Test func aStopThatComesWithACallIsHeard() async throws {
    weak var gone: EventLoop?
    let ended = Event<Void>()
    do {
      let loop = try EventLoop()
      gone = loop
      loop.execute {
        loop.execute { ended.send(()) }
        loop.stop()
      }
    }
    _ = await ended.next()
    for _ in 0..<5000 where gone != nil { usleep(1000) }  // its thread ends by itself; the limit is for failures
    #expect(gone == nil)
  }
}

/// A mutex that closures can share.
private final class Locked<Value: Sendable>: Sendable {
  private let mutex: Mutex<Value>
  init(_ value: Value) { mutex = Mutex(value) }
  func withLock<R: Sendable>(_ body: (inout Value) -> R) -> R { mutex.withLock { body(&$0) } }
}

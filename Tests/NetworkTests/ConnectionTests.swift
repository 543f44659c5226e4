import Glibc
import Synchronization
import Testing

@testable import Network

@Suite(.timeLimit(.minutes(1))) struct ConnectionTests {
  static let echoLines: Server.Handler = { connection in
    do throws(NetworkError) {
      while let line = try await connection.readLine(limit: 100, idle: true) {
        try await connection.write(line + [13, 10])
      }
      await connection.finish()
    } catch {}
  }

  @Test func linesThatComeByteByByteAreEchoed() async throws {
    try await withServer(handler: Self.echoLines) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      for byte in "one\r\n\r\ntwo\rx\r\n".utf8 {
        try await client.write([byte])
        try await client.flush()
      }
      try await client.expectLine("one")
      try await client.expectLine("")
      try await client.expectLine("two\rx")
      try await client.finishWriting()
      #expect(try await client.readLine(limit: 10) == nil)
    }
  }

  @Test func manyLinesInOneSegmentAreAllEchoed() async throws {
    try await withServer(handler: Self.echoLines) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write(String(repeating: "0123456789\r\n", count: 5000))
      try await client.finishWriting()
      #expect(try await client.readAll() == String(repeating: "0123456789\r\n", count: 5000))
    }
  }

  @Test func lineErrorsLeaveTheNextLineReadable() async throws {
    let handler: Server.Handler = { connection in
      while true {
        do throws(NetworkError) {
          guard let line = try await connection.readLine(limit: 10) else { break }
          try await connection.write("ok \(line.count)\r\n")
        } catch {
          switch error {
          case .lineTooLong, .bareLineFeed: try? await connection.write("\(error)\r\n")
          default: return
          }
        }
      }
      await connection.finish()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write("0123456789\r\n0123456789A\r\nx\ny\r\n")
      try await client.write(String(repeating: "z", count: 100_000) + "\r\nlast\r\n")
      try await client.finishWriting()
      let long = "a line is longer than 10 bytes\r\n"
      #expect(
        try await client.readAll() == "ok 10\r\n" + long + "a line ended with LF instead of CRLF\r\nok 1\r\n" + long
          + "ok 4\r\n")
    }
  }

  /// Short ones are gathered, long ones go out with them from where they are, in one piece or several.
  @Test func writesOfAllSizesArriveInOrder() async throws {
    let all = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
    let handler: Server.Handler = { connection in
      var random = SystemRandomNumberGenerator()
      var start = 0
      while start < all.count {
        let largest = [10, 5000, 40_000, 400_000].randomElement(using: &random) ?? 1
        let end = min(all.count, start + Int.random(in: 1...largest, using: &random))
        try? await connection.write(all[start..<end])
        start = end
      }
      await connection.finish()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      var received: [UInt8] = []
      while let bytes = try await client.read(limit: 3000) { received += bytes }
      #expect(received == all)
    }
  }

  @Test func writeWaitsForASlowReader() async throws {
    let written = Atomic<Int>(0)
    let result = Event<NetworkError?>()
    let handler: Server.Handler = { connection in
      let chunk = [UInt8](repeating: 65, count: 5000)
      result.send(
        await caught { () async throws(NetworkError) in
          for _ in 0..<20_000 {  // 100 MB
            try await connection.write(chunk)
            written.add(chunk.count, ordering: .relaxed)
            if connection.pending > Connection.highWaterMark { Issue.record("\(connection.pending) bytes wait") }
          }
        })
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      var before = -1
      while before != written.load(ordering: .relaxed) {  // until the kernel's buffers are full
        before = written.load(ordering: .relaxed)
        try await loop.sleep(for: .milliseconds(100))
      }
      #expect(before < 20_000_000)
      var received = 0
      while received < before + 1_000_000 {
        let bytes = try #require(try await client.read())
        #expect(bytes.allSatisfy { $0 == 65 })
        received += bytes.count
      }
      #expect(written.load(ordering: .relaxed) > before)
    }
    // The client went away in the middle: the write that waited learns of it, and does not hang.
    let end = try #require(await result.next() ?? nil)
    #expect(end == .cancelled || end == .closed || end.description.hasPrefix("write failed"))
  }

  @Test func waitsTimeOut() async throws {
    let results = Event<NetworkError?>()
    let handler: Server.Handler = { connection in
      connection.readTimeout = .milliseconds(50)
      connection.writeTimeout = .milliseconds(50)
      results.send(await caught { () async throws(NetworkError) in try await connection.readLine(limit: 10) })
      results.send(
        await caught { () async throws(NetworkError) in
          try await connection.write([UInt8](repeating: 0, count: 50_000_000))
        })
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      #expect(await results.next() == .some(.timedOut(.read)))
      #expect(await results.next() == .some(.timedOut(.write)))
    }
  }

  /// A byte now and then must not keep a line open for ever.
  @Test func aLineThatDripsTimesOut() async throws {
    let result = Event<NetworkError?>()
    let handler: Server.Handler = { connection in
      connection.readTimeout = .milliseconds(200)
      result.send(await caught { () async throws(NetworkError) in try await connection.readLine(limit: 1000) })
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      for _ in 0..<100 {
        guard (try? await client.write("x")) != nil, (try? await client.flush()) != nil else { break }
        if client.peerHasClosed { break }
        try await loop.sleep(for: .milliseconds(20))
      }
      #expect(client.peerHasClosed)
      #expect(await result.next() == .some(.timedOut(.read)))
    }
  }

  /// A server that closes on bytes that it has not read resets the connection: an error, and an end too.
  @Test func aResetIsAnEnd() async throws {
    let isRead = Event<Void>()
    let handler: Server.Handler = { connection in
      _ = try? await connection.fill()
      isRead.send(())
      connection.close()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      try await client.write([UInt8](repeating: 65, count: 100_000))
      _ = await isRead.next()
      let error = await caught { () async throws(NetworkError) in
        while true {
          try await client.write([UInt8](repeating: 65, count: 100_000))
        }
      }
      #expect(error?.description.contains("write failed") == true)
      #expect(client.peerHasClosed)
    }
  }

  /// One edge tells of the last bytes and of the reset behind them: no other follows.
  @Test func aResetBehindTheLastBytesIsNoticed() async throws {
    let isSent = Event<Void>()
    let handler: Server.Handler = { connection in
      await Task { _ = await isSent.next() }.value
      try? await connection.write("last")
      try? await connection.flush()
      connection.close()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      client.readTimeout = .seconds(5)
      try await client.write("nobody reads this")
      try await client.flush()
      isSent.send(())
      #expect(try await client.read() == Array("last".utf8))
      let error = await caught { () async throws(NetworkError) in _ = try await client.read() }
      #expect(error?.description.contains("reset") ?? true)  // an end, if the reset was lost
      #expect(client.peerHasClosed)
    }
  }

  @Test func aLimitOnAllReadsHoldsThoughBytesKeepComing() async throws {
    let result = Event<NetworkError?>()
    let handler: Server.Handler = { connection in
      connection.limitReading(to: .milliseconds(100))
      result.send(
        await caught { () async throws(NetworkError) in while try await connection.read() != nil {} })
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      for _ in 0..<100_000 {
        guard (try? await client.write([UInt8](repeating: 1, count: 20_000))) != nil else { break }
      }
      #expect(await result.next() == .some(.timedOut(.read)))
    }
  }

  @Test func cancellationEndsReadWriteAndConnect() async throws {
    let silent: Server.Handler = { connection in
      _ = try? await connection.loop.sleep(for: .seconds(600))
    }
    try await withServer(handler: silent) { loop, server in
      let address = server.address
      let started = Event<Void>()
      let reader = Task(executorPreference: loop.taskExecutor) {
        await loop.run {
          await caught { () async throws(NetworkError) in
            let client = try await Connection.connect(to: address, on: loop)
            defer { client.close() }
            started.send(())
            _ = try await client.fill()
          }
        }
      }
      _ = await started.next()
      reader.cancel()
      #expect(await reader.value == .cancelled)
      let writer = Task(executorPreference: loop.taskExecutor) {
        await loop.run {
          await caught { () async throws(NetworkError) in
            let client = try await Connection.connect(to: address, on: loop)
            defer { client.close() }
            started.send(())
            try await client.write([UInt8](repeating: 0, count: 50_000_000))
          }
        }
      }
      _ = await started.next()
      try await loop.sleep(for: .milliseconds(20))
      writer.cancel()
      #expect(await writer.value == .cancelled)
    }
    // A full queue of connections that nobody accepts makes a connect wait.
    try await withLoop { loop in
      let listener = try Listener(address: .freePort, loop: loop, backlog: 0)
      let address = listener.address
      let results = await withTaskGroup(of: NetworkError?.self) { group in
        for _ in 0..<8 {
          group.addTask {
            await loop.run {
              await caught { () async throws(NetworkError) in
                let client = try await Connection.connect(to: address, on: loop, timeout: .seconds(60))
                defer { client.close() }
                try await loop.sleep(for: .seconds(600))
              }
            }
          }
        }
        _ = await caught { () async throws(NetworkError) in try await loop.sleep(for: .milliseconds(50)) }
        group.cancelAll()
        return await group.reduce(into: []) { $0.append($1) }
      }
      #expect(results == Array(repeating: .cancelled, count: 8))
      let late = await loop.run {
        await caught { () async throws(NetworkError) in
          for _ in 0..<8 {
            let client = try await Connection.connect(to: address, on: loop, timeout: .milliseconds(50))
            client.close()
          }
        }
      }
      #expect(late == .timedOut(.connect))
      await loop.run { listener.close() }
    }
  }

  @Test func whatASessionSaysAfterItsCancellationArrives() async throws {
    let handler: Server.Handler = { connection in
      let error = await caught { () async throws(NetworkError) in try await connection.readLine(limit: 10) }
      try? await connection.write("421 \(error == .cancelled ? "cancelled" : "?")\r\n")
      await connection.finish()
    }
    try await withLoop { loop in
      let server = try Server(address: .freePort, loops: [loop], handler: handler)
      try await server.start()
      try await loop.run {
        let client = try await Connection.connect(to: server.address, on: loop)
        defer { client.close() }
        try await client.write("half a li")
        try await client.flush()
        while server.connections == 0 { await Task.yield() }
        async let stopped: Void = server.shutdown(draining: .zero, deadline: .seconds(30))
        #expect(try await client.readAll() == "421 cancelled\r\n")
        await stopped
      }
    }
  }

  /// Bytes that nobody has read must not turn the last words into a reset.
  @Test(arguments: [false, true])
  func lastWordsArriveThoughBytesWaitToBeRead(_ isCancelled: Bool) async throws {
    let timedOut = Event<Void>()
    let sentMore = Event<Void>()
    let handler: Server.Handler = { connection in
      if isCancelled {
        withUnsafeCurrentTask { $0?.cancel() }
      } else {
        connection.limitReading(to: .milliseconds(10))
        let error = await caught { () async throws(NetworkError) in try await connection.readLine(limit: 10) }
        #expect(error == .timedOut(.read))
      }
      timedOut.send(())
      await Task { _ = await sentMore.next() }.value
      try? await connection.write("421\r\n")
      await connection.finish()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      _ = await timedOut.next()
      try await client.write([UInt8](repeating: 65, count: 50_000))
      try await client.flush()
      sentMore.send(())
      #expect(try await client.readAll() == "421\r\n")
      while server.connections != 0 { await Task.yield() }
      #expect(client.transport.connectFailure() == nil)  // a reset would be told here
    }
  }

  /// Both send what was written; nothing goes out twice, and neither waits for the other.
  @Test func oneReadsWhileAnotherWrites() async throws {
    let lines = 3_000  // 15 MB: more than the kernel holds
    let filler = String(repeating: " ", count: 5_000)
    let finished = Event<Void>()
    let handler: Server.Handler = { connection in
      let loop = connection.loop
      nonisolated(unsafe) let shared = connection
      let reader = Task(executorPreference: loop.taskExecutor) {
        await loop.run {
          _ = await caught { () async throws(NetworkError) in
            while try await shared.fill() { shared.consume { (result: (), consumed: $0.count) } }
          }
        }
      }
      let error = await caught { () async throws(NetworkError) in
        for line in 0..<lines {
          try await shared.write("\(line)\(filler)\r\n")
          if line & 7 == 0 { await Task.yield() }
        }
      }
      #expect(error == nil)
      await reader.value
      finished.send(())
      await shared.finish()
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      // Spread over what the other task writes.
      for _ in 0..<50 {
        try await client.write("wake up")
        try await client.flush()
        try await loop.sleep(for: .milliseconds(1))
      }
      for line in 0..<lines {
        if line % 100 == 0 { try await client.write("wake up") }
        guard try await client.readLine(limit: 6_000) == Array("\(line)\(filler)".utf8) else {
          Issue.record("line \(line) is missing")
          break
        }
        if line == lines - 10 { try await client.finishWriting() }
      }
      _ = await finished.next()
    }
  }

  /// Whoever always has bytes ready must not keep the loop from everybody else.
  @Test func aTorrentLetsOthersHaveTheirTurn() async throws {
    let connected = Event<Void>()
    let isThere = Event<Void>()
    let readBefore = Event<Int>()
    let handler: Server.Handler = { connection in
      connected.send(())
      await Task { _ = await isThere.next() }.value
      let othersRan = Atomic<Bool>(false)
      connection.loop.execute { othersRan.store(true, ordering: .relaxed) }
      var total = 0
      while !othersRan.load(ordering: .relaxed), total < 100_000, (try? await connection.fill()) == true {
        total += connection.consume { (result: $0.count, consumed: $0.count) }
      }
      readBefore.send(total)
    }
    try await withServer(handler: handler) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      defer { client.close() }
      _ = await connected.next()
      try await client.write([UInt8](repeating: 65, count: 100_000))
      try await client.flush()
      isThere.send(())
      #expect(try #require(await readBefore.next()) < 100_000)
    }
  }

  @Test func refusedConnectionsSaySo() async throws {
    try await withLoop { loop in
      let listener = try Listener(address: .freePort, loop: loop)
      let address = listener.address
      await loop.run { listener.close() }
      let error = await loop.run {
        await caught { () async throws(NetworkError) in _ = try await Connection.connect(to: address, on: loop) }
      }
      #expect(error == .system(.connect, code: ECONNREFUSED, text: "Connection refused"))
    }
  }

  @Test func anIdleConnectionHoldsNoBuffer() async throws {
    try await withServer(handler: Self.echoLines) { loop, server in
      let client = try await Connection.connect(to: server.address, on: loop)
      try await client.write("hello\r\n")
      try await client.expectLine("hello")
      client.readTimeout = .milliseconds(1)
      #expect(await caught { () async throws(NetworkError) in _ = try await client.fill() } == .timedOut(.read))
      #expect(client.buffer == nil && client.output.capacity <= 1024)
      client.close()
      #expect(client.buffer == nil && client.output.capacity == 0)
      #expect(await caught { () async throws(NetworkError) in _ = try await client.fill() } == .closed)
      #expect(await caught { () async throws(NetworkError) in try await client.write("x") } == .closed)
    }
  }

  @Test func aForgottenConnectionIsClosed() async throws {
    try await withServer(handler: Self.echoLines) { loop, server in
      _ = try await Connection.connect(to: server.address, on: loop)
      while server.connections != 0 { await Task.yield() }
    }
  }
}

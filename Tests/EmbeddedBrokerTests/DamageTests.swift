import EmbeddedBroker
import Glibc
import Pipeline
import SQLite
import Testing

@Suite("Damage and limits of the disk", .timeLimit(.minutes(1)))
struct DamageTests {
  let folder = TemporaryFolder()
  let mark = "find-me-on-the-disk-"

  private func open(_ options: EmbeddedBroker.Options = .test) async throws -> EmbeddedBroker {
    try await EmbeddedBroker.open(folder: folder.path, clock: SystemClock.shared, options: options)
  }

  /// Changes one byte of the database, in the first place where `text` stands.
  private func flip(_ text: String) throws {
    let file = Glibc.open("\(folder.path)/broker.db", O_RDWR)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
    pread(file, &bytes, bytes.count, 0)
    let wanted = Array(text.utf8)
    let found = bytes.indices.dropLast(wanted.count).first { bytes[$0..<$0 + wanted.count].elementsEqual(wanted) }
    let place = try #require(found)
    var flipped = bytes[place + 3] ^ 0x10
    pwrite(file, &flipped, 1, off_t(place + 3))
  }

  @Test("a flipped bit is noticed and never served: value, key, header, large content", arguments: 0..<4)
  func flipped(_ part: Int) async throws {
    var broker = try await open()
    try await broker.make("t", "fine")
    try await broker.put("fine", "fine")
    var headers = Headers()
    headers.append("h", "\(mark)header".utf8)
    let value = "\(mark)value" + (part == 3 ? String(repeating: "large", count: 2000) : "")
    try await broker.put("t", "before")
    try await broker.produce([
      OutgoingRecord(topic: "t", key: Bytes("\(mark)key"), headers: headers, value: .bytes(Bytes(value)))
    ])
    await broker.close()
    try flip(mark + ["value", "key", "header", "value"][part])

    broker = try await open()
    var found: BrokerError?
    do {
      for record in try await broker.read(TopicPartition("t", 0), from: 1, limit: 1) { _ = try await record.value() }
    } catch { found = error }
    #expect(found?.kind == .corrupt)
    #expect(found?.message.contains("t[0]@1") == true, "\(String(describing: found))")
    let consumer = try await broker.member("g", "t", "fine")
    let good = try await consumer.take(2)
    #expect(Set(good.map(\.key.text)) == ["before", "fine"], "what is undamaged is served")
    #expect(await kind { _ = try await consumer.take(1) } == .corrupt)
    await broker.close()
  }

  @Test("a file that is no database is named")
  func garbage() async throws {
    await (try await open()).close()
    let file = Glibc.open("\(folder.path)/broker.db", O_WRONLY)
    var garbage = [UInt8](repeating: 0x5A, count: 8192)
    pwrite(file, &garbage, garbage.count, 0)
    close(file)
    do {
      _ = try await open()
      Issue.record("it was opened")
    } catch let error as BrokerError {
      #expect(error.kind == .corrupt)
      #expect(error.message.contains("\(folder.path)/broker.db"))
    }
  }

  @Test("a newer version's file is refused, and another program's")
  func newer() async throws {
    await (try await open()).close()
    try Database(path: "\(folder.path)/broker.db").setUserVersion(99)
    await #expect(kind { _ = try await open() } == .newerVersion)
    let other = TemporaryFolder()
    try Database(path: "\(other.path)/broker.db").execute("CREATE TABLE other(x)")
    await #expect(
      kind { _ = try await EmbeddedBroker.open(folder: other.path, clock: SystemClock.shared, options: .test) }
        == .mismatch)
  }

  @Test("a folder that cannot be made is named")
  func folders() async throws {
    close(Glibc.open("\(folder.path)/file", O_CREAT | O_WRONLY, 0o600))
    do {
      _ = try await EmbeddedBroker.open(folder: "\(folder.path)/file/data", clock: SystemClock.shared, options: .test)
      Issue.record("it was opened")
    } catch { #expect(error.message.contains("\(folder.path)/file")) }
    let below = try await EmbeddedBroker.open(folder: "\(folder.path)/data/", clock: SystemClock.shared, options: .test)
    try await below.make("t")
    await below.close()
    var information = stat()
    #expect(stat("\(folder.path)/data/broker.db", &information) == 0)
    #expect(information.st_mode & 0o077 == 0, "mail is nobody else's to read")
  }

  @Test("below the reserve nothing new is taken, and what waits goes on")
  func reserve() async throws {
    let free = Lever()
    var options = EmbeddedBroker.Options.test
    options.reserve = 1000
    options.freeSpace = { free.value }
    let broker = try await open(options)
    try await broker.make("t", "out")
    try await broker.put("t", "a", "b")
    free.value = 999
    #expect(await kind { try await broker.put("t", "c") } == .storageFull)
    try await broker.member("g", "t").pass(2, to: "out")
    #expect(try await broker.values("out") == ["a", "b"])
    free.value = 1000
    try await broker.put("t", "c")
    await broker.close()
  }

  @Test("a full database refuses whole batches, keeps what it has, and goes on when there is room")
  func full() async throws {
    var options = EmbeddedBroker.Options.test
    options.maximumPages = 200
    options.ballast = 64 * 1024
    var broker = try await open(options)
    try await broker.make("t", "out")
    var produced = 0
    var refused: BrokerError.Kind?
    while refused == nil, produced < 1000 {
      let batch = (0..<3).map { index in
        OutgoingRecord(
          topic: "t", key: Bytes("\(produced + index)"), headers: Headers(),
          value: .bytes(Bytes(String(repeating: "f", count: 5000))))
      }
      refused = await kind { try await broker.produce(batch) }
      if refused == nil { produced += 3 }
    }
    #expect(refused == .storageFull)
    #expect(access("\(folder.path)/ballast", F_OK) != 0, "the ballast was given up first")
    #expect(try await broker.watermarks([TopicPartition("t", 0)])[0].end == Int64(produced))
    // Several at once: none of them may be taken for done.
    let crowded = broker
    let kinds = await withTaskGroup(of: BrokerError.Kind?.self) { group in
      for _ in 0..<5 {
        group.addTask { await kind { try await crowded.put("t", String(repeating: "g", count: 50_000)) } }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(kinds.allSatisfy { $0 == .storageFull })
    await broker.close()
    broker = try await open()
    #expect(try await broker.values("t").count == produced)
    try await broker.member("g", "t").pass(produced, to: "out")
    #expect(try await broker.values("out").count == produced)
    #expect(try Database(path: "\(folder.path)/broker.db").integrity() == "ok")
    await broker.close()
  }

  @Test("the ballast is there when there is room")
  func ballast() async throws {
    var options = EmbeddedBroker.Options.test
    options.ballast = 64 * 1024
    let broker = try await open(options)
    var information = stat()
    #expect(stat("\(folder.path)/ballast", &information) == 0)
    #expect(information.st_size == 64 * 1024)
    await broker.close()
  }
}

/// A number that a test sets while others read it.
final class Lever: @unchecked Sendable {
  // Safe to share: the lock.
  private let lock = Monitor<Int64>(.max)
  var value: Int64 {
    get { lock.withLock { $0 } }
    set { lock.withLock { $0 = newValue } }
  }
}

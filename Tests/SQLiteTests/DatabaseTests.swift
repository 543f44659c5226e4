import Foundation
import SQLite
import Testing

@Suite final class DatabaseTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("sqlite-\(UUID().uuidString)")

  deinit { try? FileManager.default.removeItem(at: folder) }

  private func temporaryPath() throws -> String {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder.appendingPathComponent("test.db").path
  }

  @Test func valuesComeBackAsTheyWere() throws {
    let database = try Database(path: ":memory:")
    try database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER, text TEXT, blob BLOB)")
    let insert = try database.statement("INSERT INTO t (number, text, blob) VALUES (?, ?, ?)")
    insert.bind(1, Int64.min)
    insert.bind(2, "Grüße \u{0} 한글")
    insert.bind(3, [0, 255, 0])
    try insert.run()
    insert.bindNull(1)
    insert.bind(2, "")
    insert.bind(3, [])
    try insert.run()

    let select = try database.statement("SELECT number, text, blob FROM t ORDER BY id")
    #expect(try select.step())
    #expect(select.int(0) == Int64.min)
    #expect(select.text(1) == "Grüße \u{0} 한글")
    #expect(Array(select.blob(2)) == [0, 255, 0])
    #expect(try select.step())
    #expect(select.isNull(0))
    #expect(!select.isNull(1) && select.text(1).isEmpty)
    #expect(!select.isNull(2) && select.blob(2).isEmpty)
    #expect(try !select.step())
    #expect(database.lastInsertRowID == 2)
  }

  @Test func borrowedBytesAreTheSame() throws {
    let database = try Database(path: ":memory:")
    let bytes = [UInt8](repeating: 7, count: 100_000)
    let echo = try database.prepare("SELECT ?")
    try bytes.withUnsafeBytes { buffer in
      echo.bind(1, borrowing: buffer)
      let isRow = try echo.step()
      #expect(isRow && echo.blob(0).elementsEqual(bytes))
      echo.reset()
    }
  }

  @Test func aTransactionIsAllOrNothing() throws {
    let database = try Database(path: ":memory:")
    try database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    try database.transaction { () throws(SQLiteError) in try database.execute("INSERT INTO t VALUES (1)") }
    let error = #expect(throws: SQLiteError.self) {
      try database.transaction { () throws(SQLiteError) in
        try database.execute("INSERT INTO t VALUES (2)")
        try database.execute("INSERT INTO t VALUES (1)")
      } as Void
    }
    #expect(error?.isConstraint == true)
    #expect(!database.isInTransaction)
    #expect(try database.int("SELECT count(*) FROM t") == 1)
  }

  /// Two connections to a file with an empty table `t`.
  private func writerAndReader() throws -> (writer: Database, reader: Database) {
    let path = try temporaryPath()
    let writer = try Database(path: path)
    try writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    var reading = Database.Configuration()
    reading.isWritable = false
    return (writer, try Database(path: path, reading))
  }

  @Test func whatWasCommittedIsSeenByAnotherConnection() throws {
    let (writer, reader) = try writerAndReader()
    let before = try reader.dataVersion()
    try writer.execute("INSERT INTO t VALUES (9)")
    #expect(try reader.dataVersion() != before)
    #expect(try reader.int("SELECT id FROM t") == 9)
    let error = #expect(throws: SQLiteError.self) { try reader.execute("DELETE FROM t") }
    #expect(error?.isReadOnly == true)
  }

  @Test func everyCommitMakesAnotherMark() throws {
    let (writer, reader) = try writerAndReader()
    #expect(try reader.int("SELECT count(*) FROM t") == 0)
    var seen = [try #require(reader.commitMark)]
    #expect(reader.commitMark == seen[0])
    try writer.execute("BEGIN; INSERT INTO t VALUES (0); ROLLBACK")
    #expect(reader.commitMark == seen[0])
    // Also behind a log that was emptied and is begun anew, and without being read in between.
    for number in 1...20 {
      if number % 7 == 0 { writer.checkpoint(truncating: true) }
      try writer.execute("INSERT INTO t VALUES (\(number))")
      let mark = try #require(reader.commitMark)
      #expect(!seen.contains(mark))
      seen.append(mark)
    }
    #expect(try reader.int("SELECT count(*) FROM t") == 20)
    #expect(try Database(path: ":memory:").commitMark == nil)
  }

  @Test func aLockedDatabaseIsBusyAfterTheWait() throws {
    let path = try temporaryPath()
    let first = try Database(path: path)
    var patience = Database.Configuration()
    patience.busyMilliseconds = 5
    let second = try Database(path: path, patience)
    try first.begin()
    let error = #expect(throws: SQLiteError.self) { try second.begin() }
    #expect(error?.isBusy == true)
    first.rollback()
    try second.begin()
    second.rollback()
  }

  @Test func manyMayCreateTheSameDatabaseAtOnce() async throws {
    let path = try temporaryPath()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<8 {
        group.addTask {
          let database = try Database(path: path)
          try database.transaction { () throws(SQLiteError) in
            try database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY)")
            try database.execute("INSERT INTO t VALUES (\(number))")
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try Database(path: path).int("SELECT count(*) FROM t") == 8)
  }

  @Test func aFileThatIsNoDatabaseIsCorrupt() throws {
    let path = try temporaryPath()
    try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: SQLiteError.self) { _ = try Database(path: path) }
    #expect(error?.isCorrupt == true)
    #expect(error?.description.contains(path) == true)
  }

  @Test func aFolderThatIsNotThereCannotBeOpened() {
    let error = #expect(throws: SQLiteError.self) { _ = try Database(path: "/nowhere/at/all.db") }
    #expect(error?.cannotOpen == true)
  }

  @Test func aDatabaseAtItsLimitIsFull() throws {
    let database = try Database(path: try temporaryPath())
    try database.execute("CREATE TABLE t (blob BLOB); PRAGMA max_page_count=20")
    let insert = try database.statement("INSERT INTO t VALUES (zeroblob(500000))")
    let error = #expect(throws: SQLiteError.self) { try insert.run() }
    #expect(error?.isFull == true)
    #expect(try database.integrity() == "ok")
  }

  @Test func badSQLNamesItself() throws {
    let database = try Database(path: ":memory:")
    let error = #expect(throws: SQLiteError.self) { _ = try database.prepare("SELEKT 1") }
    #expect(error?.description.contains("SELEKT 1") == true)
  }

  @Test func theVersionStaysInTheFile() throws {
    let path = try temporaryPath()
    try Database(path: path).setUserVersion(42)
    #expect(try Database(path: path).userVersion() == 42)
  }
}

import Foundation
public import Pipeline

/// What every content store has to do, as a list of cases. Each driver's tests run all of them.
public enum ContentConformance {
  /// A store, and what can be done to it behind its back.
  public struct Bench: Sendable {
    /// The store; it may hold content of other runs.
    public let store: any ContentStore
    /// Another one on the same place, as another process would have it.
    public let other: any ContentStore
    /// Replaces what is kept under a reference.
    public let overwrite: @Sendable (ContentReference, Bytes) async throws -> Void
    /// Makes the place unreachable (false), or reachable again.
    public let setReachable: @Sendable (Bool) async throws -> Void

    /// A store, and what can be done to it.
    public init(
      store: any ContentStore, other: any ContentStore,
      overwrite: @escaping @Sendable (ContentReference, Bytes) async throws -> Void,
      setReachable: @escaping @Sendable (Bool) async throws -> Void
    ) {
      self.store = store
      self.other = other
      self.overwrite = overwrite
      self.setReachable = setReachable
    }
  }

  /// One thing that a content store has to do.
  public struct Case: Sendable, CustomStringConvertible {
    /// What it is.
    public let description: String
    /// Throws `Failure`, or what the store should not have thrown.
    public let run: @Sendable (Bench) async throws -> Void

    init(_ description: String, _ run: @escaping @Sendable (Bench) async throws -> Void) {
      self.description = description
      self.run = run
    }
  }

  /// What a case found to be otherwise.
  public struct Failure: Error, CustomStringConvertible {
    /// What was expected, and what was found.
    public let description: String
  }

  /// All cases.
  public static let cases: [Case] = [
    Case("what was put is got, by everybody, whatever its size") { bench in
      for size in [1, 17, 65_536, 1_000_001] {
        let bytes = random(size)
        let reference = try await bench.store.put(bytes)
        try expect(reference.size == size, "size \(reference.size) of \(size) bytes")
        try expect(try await bench.store.get(reference) == bytes, "other bytes than were put")
        try expect(try await bench.other.get(reference) == bytes, "another store has other bytes")
        try expect(ContentReference(reference.description) == reference, "a reference that cannot be written")
      }
    },
    Case("nothing is content too") { bench in
      let reference = try await bench.store.put(.empty)
      try expect(
        reference.digest == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", reference.digest)
      try expect(try await bench.store.get(reference).isEmpty, "bytes out of nowhere")
    },
    Case("26 MB") { bench in
      let bytes = random(26_000_000)
      let reference = try await bench.store.put(bytes)
      try expect(try await bench.store.get(reference) == bytes, "other bytes than were put")
    },
    Case("put twice, it is there once") { bench in
      let bytes = random(100_000)
      let first = try await bench.store.put(bytes)
      try expect(try await bench.other.put(bytes) == first, "another reference to the same")
      try expect(try await bench.store.get(first) == bytes, "other bytes than were put")
    },
    Case("many put the same and others at once") { bench in
      let contents = (0..<4).map { _ in random(200_000) }
      let references = try await withThrowingTaskGroup(of: ContentReference.self) { group in
        for index in 0..<32 {
          group.addTask { try await (index % 8 < 4 ? bench.store : bench.other).put(contents[index % 4]) }
        }
        return try await group.reduce(into: Set()) { $0.insert($1) }
      }
      try expect(references.count == 4, "\(references.count) references to 4 contents")
      for reference in references {
        try expect(contents.contains(try await bench.store.get(reference)), "other bytes than were put")
      }
    },
    Case("damage is found, of either kind, and never served") { bench in
      let reference = try await bench.store.put(random(70_000))
      for size in [70_000, 69_999, 70_001, 0] {
        try await bench.overwrite(reference, random(size))
        try await expect(.permanent, "content.corrupt") { _ = try await bench.store.get(reference) }
      }
    },
    Case("a file of it, where there is one, holds the same, and nothing damaged") { bench in
      let bytes = random(700_000)
      let reference = try await bench.store.put(bytes)
      for _ in 0..<2 {
        guard let path = try await bench.store.file(reference) else { return }
        try expect(try contents(of: path) == bytes, "other bytes than were put")
      }
      for size in [700_000, 699_999, 0] {
        try await bench.overwrite(reference, random(size))
        try await expect(.permanent, "content.corrupt") { _ = try await bench.store.file(reference) }
      }
      _ = try await bench.store.put(bytes)
      try await bench.overwrite(reference, bytes)
      try expect(try await bench.store.file(reference) != nil, "still damaged")
      for digest in ["../../../etc/passwd", String(repeating: "0", count: 64)] {
        try await expect(.permanent, "content.missing") {
          _ = try await bench.store.file(ContentReference(digest: digest, size: 1))
        }
      }
    },
    Case("half of it under its name is replaced by the next put") { bench in
      let bytes = random(70_000)
      let reference = try await bench.store.put(bytes)
      try await bench.overwrite(reference, bytes[0..<100])
      _ = try await bench.store.put(bytes)
      try expect(try await bench.store.get(reference) == bytes, "still damaged")
    },
    Case("what is not there is missing, for good") { bench in
      let unknown = ContentReference(digest: String(repeating: "0", count: 64), size: 1)
      try await expect(.permanent, "content.missing") { _ = try await bench.store.get(unknown) }
    },
    Case("a reference that says another size is no reason to take that much memory") { bench in
      let reference = try await bench.store.put(random(70_000))
      for size in [0, 1, 69_999, 1 << 50, Int.max, -1] {
        let wrong = ContentReference(digest: reference.digest, size: size)
        try await expect(.permanent, "content.corrupt") { _ = try await bench.store.get(wrong) }
        guard try await bench.store.file(reference) != nil else { continue }
        try await expect(.permanent, "content.corrupt") { _ = try await bench.store.file(wrong) }
      }
      for size in [1 << 50, Int.max, -1] {
        let unknown = ContentReference(digest: String(repeating: "0", count: 64), size: size)
        try await expect(.permanent, "content.missing") { _ = try await bench.store.get(unknown) }
      }
    },
    Case("only a digest is looked up") { bench in
      for digest in ["", "../../../etc/passwd", String(repeating: "A", count: 64), "0?acl", "%2e%2e/"] {
        try await expect(.permanent, "content.missing") {
          _ = try await bench.store.get(ContentReference(digest: digest, size: 1))
        }
      }
    },
    Case("away is away, not gone; and back again") { bench in
      let bytes = random(70_000)
      let reference = try await bench.store.put(bytes)
      try await bench.setReachable(false)
      let down = StageError.Kind.dependencyDown("content store")
      try await expect(down, "content store.down") { _ = try await bench.store.get(reference) }
      try await expect(down, "content store.down") { _ = try await bench.store.put(random(1000)) }
      try await bench.setReachable(true)
      try expect(try await bench.store.get(reference) == bytes, "not there any more")
      try expect(try await bench.store.put(bytes) == reference, "another reference")
    },
    Case("a cancelled task does no harm") { bench in
      let bytes = random(3_000_000)
      let task = Task { try await bench.store.put(bytes) }
      task.cancel()
      _ = try? await task.value  // it may have been done before
      let reference = try await bench.store.put(bytes)
      let reading = Task { try await bench.store.get(reference) }
      reading.cancel()
      if let read = try? await reading.value { try expect(read == bytes, "a part of it") }
      try expect(try await bench.store.get(reference) == bytes, "other bytes than were put")
    },
  ]

  private static func contents(of path: String) throws -> Bytes {
    Bytes(try Data(contentsOf: URL(filePath: path)))
  }

  /// Bytes that nobody has put yet.
  private static func random(_ count: Int) -> Bytes {
    let source = SystemRandom()
    var word: UInt64 = source.next()
    let array = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      for index in 0..<count {
        word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        buffer[index] = UInt8(truncatingIfNeeded: word >> 56)
      }
      initialized = count
    }
    return Bytes(array)
  }

  private static func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    guard condition else { throw Failure(description: what()) }
  }

  private static func expect(_ kind: StageError.Kind, _ reason: String, _ body: () async throws -> Void) async throws {
    do { try await body() } catch let error as StageError {
      return try expect(error.kind == kind && error.reason == reason, "\(error.kind): \(error)")
    }
    throw Failure(description: "no \(reason)")
  }
}

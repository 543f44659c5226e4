import ContentConformance
import Foundation
import Pipeline
import Testing

@Suite struct FolderContentStoreTests {
  @Test(arguments: ContentConformance.cases) func conformance(_ one: ContentConformance.Case) async throws {
    let folder = try TemporaryFolder()
    let content = folder.path + "/content"
    try await one.run(
      ContentConformance.Bench(
        store: FolderContentStore(folder: content), other: FolderContentStore(folder: content),
        overwrite: { reference, bytes in
          try Data(bytes).write(
            to: URL(filePath: "\(content)/\(reference.digest.prefix(2))/\(reference.digest.dropFirst(2))"))
        },
        setReachable: { isReachable in
          if isReachable {
            try FileManager.default.removeItem(atPath: content)
            try FileManager.default.moveItem(atPath: content + ".away", toPath: content)
          } else {
            try FileManager.default.moveItem(atPath: content, toPath: content + ".away")
            try Data().write(to: URL(filePath: content))
          }
        }))
  }

  @Test func keepsContentOnceAndTouchesIt() async throws {
    let folder = try TemporaryFolder()
    let store = FolderContentStore(folder: folder.path + "/content")
    let bytes = Bytes(Array(repeating: UInt8(7), count: 100_000))
    let reference = try await store.put(bytes)
    #expect(reference.size == 100_000)
    let path = folder.path + "/content/\(reference.digest.prefix(2))/\(reference.digest.dropFirst(2))"
    try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: path)
    #expect(try await store.put(bytes) == reference)
    let touched = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
    #expect(try #require(touched) > Date(timeIntervalSince1970: 1_000_000))
    #expect(try await store.get(reference) == bytes)
    #expect(try await store.get(store.put(.empty)) == .empty)
  }

  @Test func leftoversOfACrashAreIgnored() async throws {
    let folder = try TemporaryFolder()
    let store = FolderContentStore(folder: folder.path + "/content")
    let bytes = Bytes("hello")
    let reference = try await store.put(bytes)
    let path = folder.path + "/content/\(reference.digest.prefix(2))/\(reference.digest.dropFirst(2))"
    try Data("half".utf8).write(to: URL(filePath: folder.path + "/content/.new-1-abc"))
    // A half file under the real name is not ours; it is never served, and the next put replaces it.
    try Data("hel".utf8).write(to: URL(filePath: path))
    await #expect { try await store.get(reference) } throws: { ($0 as? StageError)?.reason == "content.corrupt" }
    _ = try await store.put(bytes)
    #expect(try await store.get(reference) == bytes)
  }

  @Test func aFolderInNowhereIsAway() async throws {
    let folder = try TemporaryFolder()
    let nowhere = FolderContentStore(folder: folder.path + "/a/b")
    await #expect { try await nowhere.put(Bytes("x")) } throws: {
      ($0 as? StageError)?.kind == .dependencyDown("content store")
    }
  }

  @Test func manyAtOnce() async throws {
    let folder = try TemporaryFolder()
    let store = FolderContentStore(folder: folder.path + "/content")
    let references = try await withThrowingTaskGroup(of: ContentReference.self) { group in
      for index in 0..<64 { group.addTask { try await store.put(Bytes("content \(index % 8)")) } }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(references.count == 8)
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/content")
    #expect(!left.contains { $0.hasPrefix(".new") })
  }
}

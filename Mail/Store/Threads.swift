import OpenSSL
import Pipeline
import SQLite

/// Which conversation a message belongs to.
///
/// Within one mailbox, messages that name each other belong together: by `Message-ID`, `In-Reply-To` and `References`
/// (RFC 5322 section 3.6.4), in whatever order they arrive. Every name that was seen is kept with its conversation, also
/// those of messages that are not here (yet, or any more), so that two answers to a lost question are together.
///
/// A message that names two conversations makes one of them: the smaller goes into the larger, so that few messages
/// change theirs. What anybody can make us do by forged names is bounded: see `maximumMoved`.
enum Threads {
  /// A conversation with more messages than this is not moved into another: two such stay apart.
  static let maximumMoved = 1000
  /// How often one conversation may have gone into another, on the way to the one that there is now. As the smaller goes
  /// into the larger, it is about the logarithm of their number.
  private static let maximumSteps = 64

  static let tables = """
    ALTER TABLE messages ADD COLUMN thread INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX messages_by_thread ON messages(user, thread, received, row);
    CREATE TABLE thread_names(
      user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, name BLOB NOT NULL, thread INTEGER NOT NULL,
      PRIMARY KEY(user, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE thread_joins(
      user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, thread INTEGER NOT NULL, joined INTEGER NOT NULL,
      PRIMARY KEY(user, thread)) STRICT, WITHOUT ROWID;
    """

  /// The conversation of a message that is about to be stored; what it names leads there from now on.
  ///
  /// - Parameters:
  ///   - names: Message-IDs, its own among them; none: it is alone.
  ///   - new: what a conversation of its own is called: a number that the mailbox has not used.
  static func thread(_ names: [String], user: Int64, new: Int64, _ database: Database) throws -> Int64 {
    guard !names.isEmpty else { return new }
    let keys = names.map(key)
    var found: [Int64] = []
    var unknown: [[UInt8]] = []
    for key in keys {
      let thread = try database.first(
        "SELECT thread FROM thread_names WHERE user=?1 AND name=?2",
        {
          $0.bind(1, user)
          $0.bind(2, key)
        }, { $0.int(0) })
      guard let thread else {
        unknown.append(key)
        continue
      }
      let now = try current(thread, user, database)
      if !found.contains(now) { found.append(now) }
    }
    let thread = try join(found, user, database) ?? new
    for key in unknown {
      try database.run("INSERT OR IGNORE INTO thread_names(user, name, thread) VALUES(?1,?2,?3)") {
        $0.bind(1, user)
        $0.bind(2, key)
        $0.bind(3, thread)
      }
    }
    return thread
  }

  /// Names may be long and are many: what is kept of each is the half of its SHA-256.
  private static func key(_ name: String) -> [UInt8] { Array(SHA256.hash(Array(name.utf8)).bytes.prefix(16)) }

  /// What has become of a conversation.
  private static func current(_ thread: Int64, _ user: Int64, _ database: Database) throws -> Int64 {
    var thread = thread
    for _ in 0..<maximumSteps {
      let joined = try database.first(
        "SELECT joined FROM thread_joins WHERE user=?1 AND thread=?2",
        {
          $0.bind(1, user)
          $0.bind(2, thread)
        }, { $0.int(0) })
      guard let joined else { break }
      thread = joined
    }
    return thread
  }

  /// Makes one conversation of several, as far as they may be moved; nil: there is none.
  private static func join(_ threads: [Int64], _ user: Int64, _ database: Database) throws -> Int64? {
    guard threads.count > 1 else { return threads.first }
    var sized: [(thread: Int64, size: Int64)] = []
    for thread in threads {
      let size = try database.first(
        "SELECT count(*) FROM (SELECT 1 FROM messages WHERE user=?1 AND thread=?2 LIMIT \(maximumMoved + 1))",
        {
          $0.bind(1, user)
          $0.bind(2, thread)
        }, { $0.int(0) })
      sized.append((thread, size ?? 0))
    }
    sized.sort { ($1.size, $0.thread) < ($0.size, $1.thread) }
    guard let kept = sized.first?.thread else { return nil }
    for (thread, size) in sized.dropFirst() where size <= maximumMoved {
      try move(thread, into: kept, user, database)
    }
    return kept
  }

  private static func move(_ thread: Int64, into kept: Int64, _ user: Int64, _ database: Database) throws {
    func bind(_ statement: Statement) {
      statement.bind(1, user)
      statement.bind(2, thread)
      statement.bind(3, kept)
    }
    // It is a change of those messages like any other: their folders count it.
    try database.run(
      """
      UPDATE folders SET modseq=modseq+1
      WHERE id IN (SELECT folder FROM messages WHERE user=?1 AND thread=?2 AND thread<>?3)
      """, bind)
    try database.run(
      """
      UPDATE messages SET thread=?3, modseq=(SELECT modseq FROM folders WHERE id=messages.folder)
      WHERE user=?1 AND thread=?2
      """, bind)
    try database.run("INSERT INTO thread_joins(user, thread, joined) VALUES(?1,?2,?3)", bind)
  }

  // MARK: From version 1

  /// Gives every message of a database of version 1 its conversation, by what its header says if that is in the database,
  /// else by its Message-ID alone.
  static func assignAll(_ database: Database) throws {
    var after: Int64 = 0
    // A mailbox counts what was stored in it, from 2 on: so these numbers are its own, and below those to come.
    var counts: [Int64: Int64] = [:]
    while true {
      let page = try database.rows(
        """
        SELECT messages.row, user, message_id, substr(bytes, 1, 65536) FROM messages
        JOIN contents ON contents.id = messages.content WHERE messages.row > ?1 ORDER BY messages.row LIMIT 200
        """, { $0.bind(1, after) }
      ) { (row: $0.int(0), user: $0.int(1), messageID: $0.optionalText(2), header: $0.bytes(3)) }
      guard let last = page.last else { return }
      for message in page {
        counts[message.user, default: 1] += 1
        var names = [message.messageID].compactMap { $0 }
        names += HeaderSection(Bytes(message.header)).references.filter { !names.contains($0) }
        let thread = try thread(
          names, user: message.user, new: counts[message.user] ?? 0, database)
        try database.run("UPDATE messages SET thread=?2 WHERE row=?1") {
          $0.bind(1, message.row)
          $0.bind(2, thread)
        }
      }
      after = last.row
    }
  }
}

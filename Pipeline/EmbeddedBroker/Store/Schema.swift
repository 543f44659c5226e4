import Pipeline

/// The tables, and which version of them a file holds.
enum Schema {
  /// Kept in the file's `user_version`.
  static let version: Int64 = 1

  /// Each partition has a table of its own beside these: see `partitionTable`.
  ///
  /// - `counter`: numbers that are never given out twice. `catalogue` rises with every topic made or deleted.
  /// - `partition.next`: at least as high as any offset ever given out below which nothing is kept; the last kept
  ///   record counts too. `partition.given`: see `Partition.given`.
  /// - `content`: values above the inline limit. One that is referred to once has no row elsewhere; `share` counts the
  ///   references of the others, `released` has those without any, until the window for time travel is over.
  /// - `slot`: who owns partition `number` of all topics of a group, and who is to have it.
  private static let tables = """
    CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counter VALUES('catalogue', 1), ('content', 1), ('member', 1);
    CREATE TABLE topic(
      id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
      retention INTEGER NOT NULL, window INTEGER NOT NULL);
    CREATE TABLE partition(
      id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, number INTEGER NOT NULL,
      next INTEGER NOT NULL DEFAULT 0, given INTEGER NOT NULL DEFAULT 0, UNIQUE(topic, number));
    CREATE TABLE content(id INTEGER PRIMARY KEY, sum INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE share(content INTEGER PRIMARY KEY, count INTEGER NOT NULL);
    CREATE TABLE released(content INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    CREATE INDEX released_at ON released(at);
    CREATE TABLE "group"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL);
    CREATE TABLE subscription("group" INTEGER, topic INTEGER, PRIMARY KEY(topic, "group")) WITHOUT ROWID;
    CREATE TABLE committed(partition INTEGER, "group" INTEGER, next INTEGER NOT NULL, PRIMARY KEY(partition, "group"))
      WITHOUT ROWID;
    CREATE TABLE session(id INTEGER PRIMARY KEY, beat INTEGER NOT NULL);
    CREATE TABLE member(
      id INTEGER PRIMARY KEY, "group" INTEGER NOT NULL, instance TEXT NOT NULL, session INTEGER NOT NULL,
      slots INTEGER NOT NULL, patience INTEGER NOT NULL, UNIQUE("group", instance));
    CREATE INDEX member_session ON member(session);
    CREATE TABLE slot(
      "group" INTEGER, number INTEGER, owner INTEGER NOT NULL, generation INTEGER NOT NULL, target INTEGER NOT NULL,
      PRIMARY KEY("group", number)) WITHOUT ROWID;
    """

  /// Creates the tables in a new file; refuses one that a newer version has written.
  static func prepare(_ connection: Connection) throws(BrokerError) {
    try check(connection)
    guard try connection.int("PRAGMA user_version") == 0 else { return }
    try connection.begin()
    do {
      // Another process may have been faster.
      if try connection.int("PRAGMA user_version") == 0 {
        try connection.execute(tables)
        try connection.execute("PRAGMA user_version=\(version)")
      }
      try connection.commit()
    } catch {
      connection.rollback()
      throw error
    }
  }

  /// Refuses what a newer version has written, and what is no broker's file.
  static func check(_ connection: Connection) throws(BrokerError) {
    // On one view of the file: another process may be about to fill it.
    try connection.beginRead()
    defer { connection.rollback() }
    let found = try connection.int("PRAGMA user_version") ?? 0
    guard found <= version else {
      throw BrokerError(
        .newerVersion, "\(connection.path) has format \(found), this build knows up to \(version)",
        hint: "start the newer build that wrote it")
    }
    if found == 0, try (connection.int("SELECT count(*) FROM sqlite_schema") ?? 0) > 0 {
      throw BrokerError(
        .mismatch, "\(connection.path) is a database, but not a broker's", hint: "choose another data folder")
    }
  }

  static func createPartition(_ id: Int64, isCompacted: Bool, _ connection: Connection) throws(BrokerError) {
    try connection.execute(
      """
      CREATE TABLE p_\(id)(
        offset INTEGER PRIMARY KEY, at INTEGER NOT NULL, sum INTEGER NOT NULL, size INTEGER NOT NULL, content INTEGER,
        key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB)
      """)
    if isCompacted { try connection.execute("CREATE INDEX p_\(id)_key ON p_\(id)(key)") }
  }
}

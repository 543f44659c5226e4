import Glibc
import Mail
import Pipeline
import PipelineCommands

extension UserCommands {
  /// `user list`.
  static func list(_ application: Application) -> Command {
    Command(
      "list", "Lists everybody with a mailbox.",
      options: Deployment.options + [.flag("json", "Prints JSON.")]
    ) { arguments in
      let deployment = try Deployment(arguments, application)
      try deployment.folder.prepare()
      let store = MailStore(folder: deployment.folder.path, mode: .inline)
      let users: [UserOverview]
      do throws(MailStoreError) { users = try await store.overview() } catch { throw failure(error) }
      await store.close()
      if arguments.has("json") {
        Console.out(JSONValue.object([.init("users", .array(users.map(json)))]).text)
      } else if users.isEmpty {
        Console.out("no users; `mailflow user add ADDRESS --token` adds one")
      } else {
        Console.out(
          Console.table(
            [["ADDRESS", "MESSAGES", "BYTES", "QUOTA", "PASSWORD", "TOKENS", "SINCE"]]
              + users.map { user in
                [
                  user.user.mailbox.address.description, "\(user.messages)", "\(user.user.used)",
                  user.user.quota.map { "\($0)" } ?? "-", user.hasPassword ? "yes" : "no", "\(user.tokens)",
                  "\(user.user.created)",
                ]
              }, right: [1, 2, 3, 5]))
      }
      return .ok
    }
  }

  private static func json(_ user: UserOverview) -> JSONValue {
    .object([
      .init("address", .string(user.user.mailbox.address.description)), .init("messages", .int(user.messages)),
      .init("bytes", .int(Int(user.user.used))), .init("quota", user.user.quota.map { .int(Int($0)) } ?? .null),
      .init("hasPassword", .bool(user.hasPassword)), .init("tokens", .int(user.tokens)),
      .init("created", .string(user.user.created.description)),
    ])
  }

  /// `user remove`.
  static func remove(_ application: Application) -> Command {
    Command(
      "remove", "Removes a user with all mail of the mailbox; asks before it does.",
      discussion: """
        The mail, its folders, the tokens and the password are gone for good, and nothing of it is found any more. Content \
        that no other mailbox has is freed: the file mail.db keeps its size, and uses the room again; large content, \
        which is kept apart, stays for garbage collection, since waiting and dead messages may need it. Mail that is on \
        its way to the user becomes a dead letter (recipient.unknown); new mail is refused.
        """,
      examples: [
        ("mailflow user remove bob@example.com --dry-run", "Says what would be removed."),
        ("mailflow user remove bob@example.com --yes --json", "For scripts: does not ask."),
      ],
      options: Deployment.options + [
        .flag("yes", "Does not ask."), .flag("dry-run", "Only says what would be removed."),
        .flag("json", "Prints JSON."),
      ],
      positionals: [.required("ADDRESS", "Whose mailbox; `mailflow user list` shows them.")]
    ) { arguments in
      guard let address = EmailAddress(arguments.word("ADDRESS") ?? "", allowingUTF8: true) else {
        throw ServiceError(.dataError, "`\(arguments.word("ADDRESS") ?? "")` is not an address")
      }
      let deployment = try Deployment(arguments, application)
      try deployment.folder.prepare()
      let store = MailStore(folder: deployment.folder.path, mode: .inline)
      do throws(MailStoreError) {
        let unknown = MailStoreError(.invalid, "there is no user \(address); `mailflow user list` shows them")
        guard let planned = try await store.removal(of: address) else { throw unknown }
        guard !arguments.has("dry-run") else {
          report(planned, arguments, isDone: false)
          return .ok
        }
        if !arguments.has("yes"), !confirmed(planned) {
          throw MailStoreError(.invalid, "not removed; answer with the address, or give --yes (or --dry-run)")
        }
        let index = FTSSearchIndex(folder: deployment.folder.path, mode: .inline)
        // Before the mail, so that a removal that is interrupted leaves nothing to be found of what is gone; and behind
        // it, for what was indexed meanwhile.
        _ = try await index.removeAll(of: planned.mailbox.id)
        guard let removed = try await store.removeUser(address) else { throw unknown }
        _ = try await index.removeAll(of: planned.mailbox.id)
        await index.close()
        await store.close()
        report(removed, arguments, isDone: true)
        return .ok
      } catch { throw failure(error) }
    }
  }

  /// What a person at a terminal says; nobody is there: no.
  private static func confirmed(_ removal: UserRemoval) -> Bool {
    guard isatty(0) == 1 else { return false }
    let address = removal.mailbox.address.description
    Console.error("\(text(removal)) will be removed for good. Type \(address) to go on:")
    return readLine(strippingNewline: true)?.lowercased() == address
  }

  private static func text(_ removal: UserRemoval) -> String {
    "\(removal.mailbox.address), \(removal.messages) messages, \(removal.bytes) bytes"
  }

  private static func report(_ removal: UserRemoval, _ arguments: Arguments, isDone: Bool) {
    if arguments.has("json") {
      Console.out(
        JSONValue.object([
          .init("address", .string(removal.mailbox.address.description)), .init("removed", .bool(isDone)),
          .init("messages", .int(removal.messages)), .init("bytes", .int(Int(removal.bytes))),
          .init("contentFreed", .int(removal.freed)), .init("contentLeft", .int(removal.left)),
        ]).text)
      return
    }
    Console.out("\(isDone ? "removed" : "would remove") \(text(removal))")
    Console.out(
      "content of no other mailbox: \(removal.freed) \(isDone ? "" : "would be ")freed, \(removal.left) left to garbage collection"
    )
  }

  static func failure(_ error: MailStoreError) -> ServiceError {
    ServiceError(error.kind == .invalid ? .dataError : .unavailable, error.description)
  }
}

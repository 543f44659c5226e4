import Glibc
import Mail
import Pipeline
import PipelineCommands

/// `user`: mailboxes. Works before, during and without a running service.
enum UserCommands {
  static func command(_ application: Application) -> Command {
    Command(
      "user", "Adds, lists and removes people with a mailbox.",
      subcommands: [add(application), list(application), remove(application)])
  }

  private static func add(_ application: Application) -> Command {
    Command(
      "add", "Adds a user, or makes a token for one that is there.",
      discussion: "Of a user who is there, nothing is changed; a token is made for either.",
      examples: [
        ("mailflow user add alice@example.com --token", "A mailbox, and a token to read it over REST."),
        ("echo secret | mailflow user add bob@example.com --password-stdin", "A mailbox with a password."),
      ],
      options: Deployment.options + [
        .flag("password-stdin", "Reads the password from the first line of standard input."),
        .flag("token", "Makes a token for REST and prints it; it is shown this once."), .flag("json", "Prints JSON."),
      ],
      positionals: [.required("ADDRESS", "Such as alice@example.com; its domain has to be one of the topology's.")]
    ) { arguments in
      let deployment = try Deployment(arguments, application)
      try deployment.folder.prepare()
      let store = MailStore(folder: deployment.folder.path, mode: .inline)
      var password: String?
      if arguments.has("password-stdin") {
        guard let line = readLine(strippingNewline: true), !line.isEmpty else {
          throw ServiceError(.dataError, "no password on standard input")
        }
        password = line
      }
      do throws(MailStoreError) {
        let user = try await MailAdministration(store: store, domains: deployment.topology.domains).addUser(
          arguments.word("ADDRESS") ?? "", password: password, token: arguments.has("token") ? "command line" : nil)
        await store.close()
        if !user.wasAdded, password != nil {
          throw MailStoreError(.invalid, "\(user.address) is there already; its password was not changed")
        }
        if arguments.has("json") {
          Console.out(
            JSONValue.object([
              .init("address", .string(user.address)), .init("token", .optional(user.token)),
              .init("added", .bool(user.wasAdded)),
            ]).text)
        } else {
          Console.out(user.wasAdded ? "added \(user.address)" : "\(user.address) is there already")
          if let token = user.token { Console.out("token \(token)") }
        }
        return .ok
      } catch {
        throw ServiceError(error.kind == .invalid ? .dataError : .unavailable, error.description)
      }
    }
  }
}

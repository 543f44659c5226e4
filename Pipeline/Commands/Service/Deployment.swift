import Glibc
public import Pipeline

/// A topology with its data folder, as the options of a command name them.
public struct Deployment: Sendable {
  /// The topology.
  public let topology: Topology
  /// Its data folder.
  public let folder: DataFolder
  /// The topology's text and the file's name.
  let text: String
  let file: String
  let overrides: [(path: String, value: String)]

  /// The options by which every command that needs a deployment finds it.
  public static let options: [Command.Option] = [
    .value("topology", "FILE", "The topology; ./topology.yaml unless a running service is found through --data."),
    .value("data", "DIR", "The data folder; the topology's `data:` by default."),
    .repeated("set", "PATH=VALUE", "Overrides a value of the topology, such as gateways.smtp.listen=127.0.0.1:0."),
  ]

  /// Finds the deployment that the arguments mean.
  ///
  /// A data folder in which a service runs knows its topology; otherwise `--topology` or `./topology.yaml` is read.
  ///
  /// - Parameter isStarting: the file counts, not what ran before.
  public init(_ arguments: Arguments, _ application: Application, isStarting: Bool = false) throws {
    let data = arguments.value("data").map(DataFolder.init)
    var overrides = try arguments.values("set").map(Self.override)
    if !isStarting, arguments.value("topology") == nil, let data, let text = DataFolder.read(data.topology) {
      var lines = (DataFolder.read(data.arguments) ?? "").split(separator: "\n").map(String.init)
      let file = lines.isEmpty ? data.topology : lines.removeFirst()
      overrides = try lines.map(Self.override) + overrides
      try self.init(text: text, file: file, overrides: overrides, data: data, application)
      return
    }
    let file = arguments.value("topology") ?? "topology.yaml"
    guard let text = DataFolder.read(file) else {
      throw ServiceError(
        .config, "cannot read the topology \(file): \(String(cString: strerror(errno)))",
        hint: "name it with --topology FILE, or a running service's folder with --data DIR")
    }
    try self.init(text: text, file: file, overrides: overrides, data: data, application)
  }

  init(
    text: String, file: String, overrides: [(path: String, value: String)], data: DataFolder?,
    _ application: Application
  ) throws {
    self.text = text
    self.file = file
    self.overrides = overrides
    topology = try TopologyParser.parse(
      text: text, file: file, overrides: overrides, environment: Self.environment(),
      vocabulary: application.vocabulary)
    folder = data ?? DataFolder(topology.data)
  }

  private static func override(_ text: String) throws(ServiceError) -> (path: String, value: String) {
    guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
      throw ServiceError(
        .usage, "--set takes PATH=VALUE, not `\(text)`", hint: "--set gateways.smtp.listen=127.0.0.1:0")
    }
    return (String(text[..<equals]), String(text[text.index(after: equals)...]))
  }

  private static func environment() -> [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let pointer = entry.pointee {
      let text = String(cString: pointer)
      if let equals = text.firstIndex(of: "=") {
        result[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      entry += 1
    }
    return result
  }

  /// Where the gateway `name` of the service on the data folder listens, or did last; what the topology says if none ever
  /// ran there. Nil if it has no such gateway.
  public func address(of name: String) -> String? {
    let start = "gateways.\(name).listen='"
    let taken = (DataFolder.read(folder.arguments) ?? "").split(separator: "\n").last { $0.hasPrefix(start) }
    if let taken { return String(taken.dropFirst(start.count).prefix { $0 != "'" }) }
    return topology.gateways.first { $0.name == name }?.options.text("listen")
  }

  /// An address that a gateway has taken, and the option that says where.
  struct ListeningAddress {
    let gateway: String
    let option: String
    let address: String

    /// What it is called in the line that says that everything accepts: `smtp`, `smtp.tls-listen`.
    var name: String { option == "listen" ? gateway : "\(gateway).\(option)" }
  }

  /// Leaves the topology in the data folder, for the children and for commands.
  ///
  /// - Parameter listening: addresses that were taken: a gateway that has to be started again takes the same one.
  func publish(listening: [ListeningAddress] = []) throws(ServiceError) {
    try DataFolder.write(text, to: folder.topology)
    let taken = listening.map { "gateways.\($0.gateway).\($0.option)='\($0.address)'" }
    let lines = [file] + overrides.map { "\($0.path)=\($0.value)" } + taken
    try DataFolder.write(lines.joined(separator: "\n") + "\n", to: folder.arguments)
  }
}

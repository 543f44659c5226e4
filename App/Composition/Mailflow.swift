import EmbeddedBroker
import IndexStage
import KafkaBroker
import Mail
import NotifyStage
import Pipeline
public import PipelineCommands
import S3ContentStore
import SMTPGateway
import SpamScanStage
import StoreStage
import ValidateStage
import VirusScanStage
import WebGateway

/// The composition root: the one place that sees everything, and decides what an installation is made of.
public enum Mailflow {
  /// The application; `App/Main.swift` runs it.
  public static let application = Application(
    name: "mailflow", summary: "Mail as a pipeline: every step a stage, every edge a durable topic.",
    version: "0.1.0", vocabulary: vocabulary,
    stages: { topology, folder, contentStore in registry(Stores(topology, folder, contentStore)) },
    openBroker: { topology, folder, clock, log in
      switch topology.broker {
      case .embedded: return try await EmbeddedBroker.open(folder: folder.path, clock: clock)
      case .kafka(let servers, let properties):
        var options = KafkaBroker.Options(servers: servers)
        options.properties = properties
        options.guarantee = topology.guarantee
        options.topicProperties = topology.topicProperties
        options.report = { log.write(.error, "kafka", ("error", $0.description)) }
        return try await KafkaBroker.open(options)
      }
    },
    openContentStore: { topology, folder in
      switch topology.content {
      case .folder: FolderContentStore(folder: "\(folder.path)/content")
      case .s3(let settings): try S3ContentStore(settings)
      }
    },
    makeGateways: Gateways.make,
    commands: { [SendCommand.command($0), UserCommands.command($0)] })

  /// What `topology.yaml` may say.
  private static var vocabulary: Vocabulary {
    // Checked against, never run: the stores of a deployment are only known once its topology has been read.
    let stores = Stores(Topology(name: "mail", flows: []), DataFolder("."), nil)
    return Vocabulary(
      stages: registry(stores),
      gateways: [
        .init(
          "smtp", "Takes mail from other servers by SMTP.", isSource: true, schema: SMTPGatewayOptions.schema,
          needsDataFolder: true, mistake: { SMTPGatewayOptions.mistake(in: $0) }),
        .init(
          "web", "REST for people with a mailbox; health.", isSource: false, schema: WebGatewayOptions.schema,
          needsDataFolder: true),
      ],
      sections: OptionSchema([
        Option("domains", .list, default: .list([]), "domains whose mail is ours"),
        Option("postmaster", .text, required: false, "who gets mail to postmaster@; the first user by default"),
      ]))
  }

  /// Every stage, a line each.
  private static func registry(_ stores: Stores) -> StageRegistry {
    var registry = StageRegistry()
    ValidateStage.register(in: &registry, directory: stores.directory)
    SpamScanStage.register(in: &registry)
    VirusScanStage.register(in: &registry)
    StoreStage.register(in: &registry, store: stores.mail, directory: stores.directory)
    IndexStage.register(in: &registry, index: stores.index, store: stores.mail)
    NotifyStage.register(in: &registry)
    return registry
  }
}

/// The mailbox stores of a deployment. Nothing is opened before it is used. Large content is kept where the pipeline keeps
/// it by reference: each is there once.
struct Stores {
  let mail: MailStore
  let directory: MailDirectory
  let index: any SearchIndex

  init(_ topology: Topology, _ folder: DataFolder, _ contentStore: (any ContentStore)?) {
    mail = MailStore(folder: folder.path, contentStore: contentStore)
    index = FTSSearchIndex(folder: folder.path)
    directory = MailDirectory(
      store: mail, domains: topology.domains,
      postmaster: topology.text("postmaster").flatMap { EmailAddress($0, allowingUTF8: true) })
  }
}

extension Topology {
  /// Domains whose mail is ours.
  var domains: [String] { if case .list(let domains)? = sections["domains"] { domains } else { [] } }
  /// A section that is a text.
  func text(_ section: String) -> String? { if case .text(let text)? = sections[section] { text } else { nil } }
}

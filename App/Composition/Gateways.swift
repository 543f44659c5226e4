import Glibc
import Linux
import Mail
import Network
import OpenSSL
import Pipeline
import PipelineCommands
import SMTPGateway
import WebGateway

/// Makes the gateways that a topology names.
enum Gateways {
  static func make(_ context: GatewayContext) async throws -> [any GatewayService] {
    raiseDescriptorLimit()  // each connection takes one
    let stores = Stores(context.topology, context.folder, context.contentStore)
    let loop = try EventLoop()
    var services: [any GatewayService] = []
    for gateway in context.part.gateways {
      switch gateway.name {
      case "smtp": services.append(SocketService(name: gateway.name, gateway: try smtp(gateway, context, stores, loop)))
      case "web": services.append(SocketService(name: gateway.name, gateway: try web(gateway, context, stores, loop)))
      default: throw ServiceError(.config, "gateway \(gateway.name) is not part of this build")
      }
    }
    return services
  }

  private static func smtp(
    _ gateway: Topology.Gateway, _ context: GatewayContext, _ stores: Stores, _ loop: EventLoop
  ) throws -> SMTPGateway {
    let options = try SMTPGatewayOptions(gateway.options)
    let hostname = options.hostname ?? domainOfThisMachine()
    guard let intake = try context.intake(of: gateway.name) else {
      throw ServiceError(.config, "gateway smtp feeds no flow", hint: "write `from: smtp` in one of the flows")
    }
    let acceptor = PipelineAcceptor(intake, hostname: hostname, source: gateway.name, log: context.log)
    return try SMTPGateway(
      options, hostname: hostname, postmasterDomain: context.topology.domains.first, loops: [loop],
      directory: StoreDirectory(directory: stores.directory, log: context.log), acceptor: acceptor,
      certificate: try Certificates.open(
        options.tlsCertificate, key: options.tlsKey, hostname: hostname, gateway: gateway.name, context),
      clock: context.clock, log: context.log.with(("gateway", "smtp")))
  }

  private static func web(
    _ gateway: Topology.Gateway, _ context: GatewayContext, _ stores: Stores, _ loop: EventLoop
  ) throws -> WebGateway {
    let options = WebGatewayOptions(gateway.options)
    return try WebGateway(
      options, loops: [loop], store: stores.mail, index: stores.index,
      certificate: try Certificates.open(
        options.tlsCertificate, key: options.tlsKey, hostname: domainOfThisMachine(), protocols: ["http/1.1"],
        gateway: gateway.name, context),
      readiness: {
        let states = context.stageStates()
        return Readiness(
          isReady: states.count >= context.part.stages.count && states.allSatisfy { $0.state == "running" },
          stages: states.map { .init(flow: $0.stage.flow, stage: $0.stage.stage, state: $0.state, reason: $0.reason) })
      }, log: context.log.with(("gateway", "web")))
  }

  /// The machine's name as a domain; an address literal if it has none.
  private static func domainOfThisMachine() -> String {
    let name = machineName()
    return name.isEmpty
      || name.utf8.contains(where: {
        !($0 == 45 || $0 == 46 || (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0))
      }) ? "localhost" : name
  }
}

/// What has a socket that listens.
private protocol SocketGateway: Sendable {
  /// Where it listens, by the option that says so.
  var addresses: [(option: String, address: SocketAddress)] { get }
  func start() async throws
  func shutdown(draining: Duration, deadline: Duration) async
}

extension SMTPGateway: SocketGateway {
  fileprivate var addresses: [(option: String, address: SocketAddress)] {
    [("listen", address)] + (tlsAddress.map { [("tls-listen", $0)] } ?? [])
  }
}
extension WebGateway: SocketGateway {
  fileprivate var addresses: [(option: String, address: SocketAddress)] { [("listen", address)] }
}

/// A gateway as the service starts and stops it.
private struct SocketService: GatewayService {
  let name: String
  let gateway: any SocketGateway

  func start() async throws -> [(option: String, address: String)] {
    try await gateway.start()
    return gateway.addresses.map { ($0.option, $0.address.description) }
  }
  func drain(deadline: Duration) async { await gateway.shutdown(draining: deadline / 2, deadline: deadline) }
}

/// Asks the mailbox store who has a mailbox.
private struct StoreDirectory: RecipientDirectory {
  let directory: MailDirectory
  let log: Log

  func resolve(_ address: EmailAddress) async -> RecipientStatus {
    do throws(MailStoreError) {
      switch try await directory.resolve(address) {
      case .mailbox: return .known
      case .unknownUser: return .unknown
      case .notOurs: return .notLocal
      case .overQuota: return .overQuota
      }
    } catch {
      log.write(.warning, "the directory cannot be asked", ("error", error.description))
      return .unavailable
    }
  }
}

// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
]

/// A C library of the system and the Swift face over it: the only place where its C types are seen.
func face(_ name: String, pkgConfig: String? = nil, apt: [String] = [], over: [String] = []) -> [Target] {
  [
    .systemLibrary(
      name: "C\(name)", path: "System/\(name)/C\(name)", pkgConfig: pkgConfig,
      providers: apt.isEmpty ? nil : [.apt(apt)]),
    .target(
      name: name, dependencies: (["C\(name)"] + over).map { .target(name: $0) }, path: "System/\(name)", exclude: [],
      swiftSettings: settings),
  ]
}

func module(_ name: String, _ path: String, _ dependencies: [String] = [], exclude: [String] = []) -> Target {
  .target(
    name: name, dependencies: dependencies.map { .target(name: $0) }, path: path, exclude: exclude,
    swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [String], resources: [Resource]? = nil) -> Target {
  .testTarget(
    name: name, dependencies: dependencies.map { .target(name: $0) }, path: "Tests/\(name)", resources: resources,
    swiftSettings: settings)
}

let system =
  face("SQLite", pkgConfig: "sqlite3", apt: ["libsqlite3-dev"])
  + face("YAML", pkgConfig: "yaml-0.1", apt: ["libyaml-dev"])
  + face("OpenSSL", pkgConfig: "openssl", apt: ["libssl-dev"])
  + face("Event", pkgConfig: "libevent", apt: ["libevent-dev"])
  + face("Linux")
  + face("RdKafka", pkgConfig: "rdkafka", apt: ["librdkafka-dev"])
  + face("Archive", pkgConfig: "libarchive", apt: ["libarchive-dev"])
  + face("Curl", pkgConfig: "libcurl", apt: ["libcurl4-openssl-dev"])
  + face("Unbound", pkgConfig: "libunbound", apt: ["libunbound-dev"], over: ["Event"])

let framework: [Target] = [
  module("Pipeline", "Pipeline/Core", ["YAML", "OpenSSL"]),
  module("EmbeddedBroker", "Pipeline/EmbeddedBroker", ["Pipeline", "SQLite", "Linux"]),
  module("KafkaBroker", "Pipeline/KafkaBroker", ["Pipeline", "RdKafka"]),
  module("S3ContentStore", "Pipeline/S3ContentStore", ["Pipeline", "Network", "OpenSSL"]),
  module("PipelineCommands", "Pipeline/Commands", ["Pipeline", "EmbeddedBroker", "Linux"]),
  module("PipelineTesting", "Pipeline/Testing", ["Pipeline", "EmbeddedBroker"]),
]

let service: [Target] = [
  module("Network", "Network", ["Curl", "Event", "Linux", "OpenSSL", "Unbound"]),
  module("Mail", "Mail", ["Pipeline", "SQLite", "OpenSSL"]),
  module("ValidateStage", "Stages/Validate", ["Mail", "Pipeline"]),
  module("StoreStage", "Stages/Store", ["Mail", "Pipeline"]),
  module("SpamScanStage", "Stages/SpamScan", ["Mail", "Pipeline", "YAML"]),
  module("VirusScanStage", "Stages/VirusScan", ["Archive", "Mail", "OpenSSL", "Pipeline"]),
  module("IndexStage", "Stages/Index", ["Mail", "Pipeline"]),
  module("NotifyStage", "Stages/Notify", ["Mail", "Pipeline"]),
  module("SMTPGateway", "Gateways/SMTP", ["Mail", "Network", "Pipeline"]),
  module("WebGateway", "Gateways/Web", ["Mail", "Network", "OpenSSL", "Pipeline"]),
  module(
    "MailflowApp", "App/Composition",
    [
      "Pipeline", "EmbeddedBroker", "KafkaBroker", "S3ContentStore", "PipelineCommands", "Mail", "ValidateStage",
      "SpamScanStage", "VirusScanStage", "StoreStage", "IndexStage", "NotifyStage", "SMTPGateway", "WebGateway",
      "Network", "Linux", "OpenSSL",
    ]),
  .executableTarget(
    name: "mailflow", dependencies: ["MailflowApp", "PipelineCommands"], path: "App", exclude: ["Composition"],
    sources: ["Main.swift"], swiftSettings: settings),
]

let tools: [Target] = [
  .executableTarget(
    name: "simulate", dependencies: ["Pipeline", "PipelineTesting", "EmbeddedBroker"], path: "Benchmarks/Simulate",
    swiftSettings: settings),
  .executableTarget(
    name: "bench", dependencies: ["Mail", "Pipeline", "PipelineCommands", "EmbeddedBroker", "KafkaBroker"],
    path: "Benchmarks/Bench", swiftSettings: settings),
]

/// With MAILFLOW_FUZZ=1 set, `Scripts/fuzz` builds each target of the fuzzer as a program of libFuzzer's; without, it is a
/// module whose corpus the tests try.
let isFuzzing = Context.environment["MAILFLOW_FUZZ"] != nil

/// A target of the fuzzer: `Tests/Fuzz/NAME` holds its rule, and in `corpus` what to begin with.
func fuzz(_ name: String, _ dependencies: [String]) -> Target {
  let dependencies = (dependencies + ["FuzzKit"]).map { Target.Dependency.target(name: $0) }
  let path = "Tests/Fuzz/\(name)"
  return isFuzzing
    ? .executableTarget(
      name: "\(name)Fuzz", dependencies: dependencies, path: path, exclude: ["corpus"],
      swiftSettings: settings + [.define("FUZZING")])
    : .target(
      name: "\(name)Fuzz", dependencies: dependencies, path: path, exclude: ["corpus"], swiftSettings: settings)
}

let fuzzing: [Target] = [
  .target(
    name: "FuzzKit", path: "Tests/Fuzz/Kit", swiftSettings: settings + (isFuzzing ? [.define("FUZZING")] : [])),
  fuzz("DNS", ["Network"]),
  fuzz("HTTP", ["Network"]),
  fuzz("MIME", ["Mail", "Pipeline"]),
  fuzz("SMTP", ["Mail", "Network", "Pipeline", "SMTPGateway"]),
  fuzz("WebSocket", ["Network"]),
]

let testing: [Target] = [
  .executableTarget(
    name: "mailflow-testbed", dependencies: ["MailflowApp", "Pipeline", "PipelineCommands"], path: "Tests/Testbed",
    swiftSettings: settings),
  module("BrokerConformance", "Tests/BrokerConformance", ["Pipeline"]),
  tests("SQLiteTests", ["SQLite"]),
  tests("YAMLTests", ["YAML"]),
  tests("OpenSSLTests", ["OpenSSL"]),
  tests("LinuxTests", ["Linux"]),
  tests("NetworkTests", ["Network", "Linux", "OpenSSL"]),
  .executableTarget(
    name: "http-probe", dependencies: ["Network"], path: "Tests/HTTPProbe", swiftSettings: settings),
  tests("PipelineTests", ["Pipeline", "PipelineTesting", "YAML"]),
  .executableTarget(
    name: "BrokerCrashProbe", dependencies: ["EmbeddedBroker", "Pipeline"], path: "Tests/BrokerCrashProbe",
    swiftSettings: settings),
  tests(
    "EmbeddedBrokerTests",
    ["EmbeddedBroker", "BrokerConformance", "BrokerCrashProbe", "Pipeline", "PipelineTesting", "SQLite"]),
  module("ContentConformance", "Tests/ContentConformance", ["Pipeline"]),
  tests("S3ContentStoreTests", ["S3ContentStore", "ContentConformance", "Network", "Pipeline"]),
  .executableTarget(
    name: "kafka-bounce", dependencies: ["KafkaBroker", "Linux", "Pipeline", "PipelineTesting"],
    path: "Tests/KafkaBounce",
    swiftSettings: settings),
  tests("KafkaBrokerTests", ["KafkaBroker", "BrokerConformance", "Pipeline", "RdKafka"]),
  tests("SimulationTests", ["Pipeline", "PipelineTesting", "EmbeddedBroker"]),
  tests("PipelineCommandsTests", ["PipelineCommands", "Pipeline"]),
  .executableTarget(
    name: "mime-probe", dependencies: ["MIMEFuzz", "Mail", "OpenSSL", "Pipeline"], path: "Tests/MIMEProbe",
    swiftSettings: settings),
  tests("MailTests", ["Mail", "MIMEFuzz", "ContentConformance", "Pipeline", "SQLite"]),
  tests(
    "StageTests",
    [
      "ValidateStage", "SpamScanStage", "VirusScanStage", "StoreStage", "IndexStage", "NotifyStage", "Mail", "Pipeline",
      "PipelineTesting",
    ]),
  tests("SMTPGatewayTests", ["SMTPGateway", "Mail", "Network", "OpenSSL", "Pipeline", "PipelineTesting"]),
  tests("WebGatewayTests", ["WebGateway", "Mail", "Network", "Pipeline"]),
  tests("LogPipelineTests", ["Pipeline", "PipelineTesting", "EmbeddedBroker"]),
  tests("FuzzTests", ["DNSFuzz", "FuzzKit", "HTTPFuzz", "MIMEFuzz", "SMTPFuzz", "WebSocketFuzz"]),
]

let package = Package(
  name: "mailflow",
  products: [
    .library(
      name: "Pipeline", targets: ["Pipeline", "EmbeddedBroker", "KafkaBroker", "S3ContentStore", "PipelineCommands"]),
    .library(name: "PipelineTesting", targets: ["PipelineTesting"]),
    .executable(name: "mailflow", targets: ["mailflow"]),
  ],
  targets: system + framework + service + tools + fuzzing + (isFuzzing ? [] : testing),
  swiftLanguageModes: [.v6]
)

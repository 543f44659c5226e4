import Pipeline
import Testing

@Suite struct TopologyParserTests {
  private struct Limits: StageOptions {
    static let schema = OptionSchema([
      Option("max-size", .size(1...1 << 30), default: .integer(1024), "Bytes of a message"),
      Option("mode", .choice(["strict", "lenient"]), default: .text("strict"), "How strict"),
    ])
    init(_ values: OptionValues) {}
  }
  private struct Nothing: Stage {
    func process(_ message: Message, _ context: StageContext) async throws -> Outcome { .forward(message) }
  }

  private var vocabulary: Vocabulary {
    var stages = StageRegistry()
    for name in ["validate", "store", "notify"] {
      stages.register(name, "A stage.", options: Limits.self) { _, _ in .one(Nothing()) }
    }
    stages.register("virus-scan", "A stage.", options: NoOptions.self, outcomes: ["infected"]) { _, _ in .one(Nothing())
    }
    stages.register("judge", "A stage.", options: NoOptions.self, onlyJudges: true) { _, _ in .one(Nothing()) }
    stages.register(
      "local", "A stage.", options: NoOptions.self, onlyJudges: true, needsDataFolder: { _ in true }
    ) { _, _ in .one(Nothing()) }
    return Vocabulary(
      stages: stages,
      gateways: [
        .init(
          "smtp", "In.", isSource: true,
          schema: OptionSchema([
            Option("listen", .address, default: .text("127.0.0.1:25"), "Where")
          ]), needsDataFolder: true, mistake: { $0.text("listen") == "127.0.0.1:1" ? "not there" : nil }),
        .init("queue", "In.", isSource: true, schema: OptionSchema([])),
        .init("web", "Out.", isSource: false, schema: OptionSchema([]), needsDataFolder: true),
      ],
      sections: OptionSchema([Option("domains", .list, default: .list([]), "Ours")]))
  }

  private func parse(
    _ text: String, _ overrides: [(path: String, value: String)] = [], _ environment: [String: String] = [:]
  ) throws -> Topology {
    try TopologyParser.parse(
      text: text, file: "t.yaml", overrides: overrides, environment: environment, vocabulary: vocabulary)
  }

  private func mistakes(_ text: String, _ overrides: [(path: String, value: String)] = []) -> [String] {
    do {
      _ = try parse(text, overrides)
      return []
    } catch { return (error as? TopologyError)?.diagnostics.map(\.description) ?? ["\(error)"] }
  }

  private let good = """
    version: 1
    name: mail
    broker: embedded
    defaults: {retry: [1s, 1m], give-up: 2h, concurrency: 4}
    gateways: {smtp: {listen: "127.0.0.1:2525"}, web: {}}
    domains: [example.com, "${SECOND:-example.org}"]
    flows:
      inbound:
        from: smtp
        stages: [validate, virus-scan, store]
        on: {virus-scan.infected: dead-letter}
    stages:
      store: {needs: [validate], timeout: 2m, max-size: 64KiB, concurrency: 8, order: key}
    """

  @Test func whatIsTriedBeforeAccepting() throws {
    func flow(_ beforeAccept: String, needs: String = "[]", from: String = "from: smtp") -> String {
      """
      version: 1
      gateways: {smtp: {}}
      flows:
        inbound: {\(from), stages: [judge, local, store], before-accept: \(beforeAccept)}
      stages: {local: {needs: \(needs)}}
      """
    }
    let topology = try parse(flow("[local, judge]", needs: "[judge]"))
    #expect(topology.flows[0].beforeAccept == ["local", "judge"])
    for (text, message) in [
      (flow("[store]"), "stage `store` cannot be tried before accepting: it does more than judge"),
      (flow("[judge, judge]"), "`before-accept` names `judge` twice"),
      (flow("[jugde]"), "`before-accept` names `jugde`, which is not in flow `inbound`"),
      (flow("[local]", needs: "[judge]"), "stage `local` needs `judge`, which `before-accept` does not name"),
      (flow("[judge]", from: "from: []"), "`before-accept` of flow `inbound`, which has no client that waits"),
    ] {
      let found = mistakes(text)
      #expect(found.contains { $0.contains(message) }, "\(found)")
    }
  }

  /// A gateway that tries a stage before accepting needs what the stage needs.
  @Test func aGatewayRunsWhereItsStagesCan() throws {
    let text = """
      version: 1
      broker: kafka://k:9092
      content: {s3: "http://s3/bucket", access-key: a, secret-key: b}
      gateways: {queue: {}}
      flows: {f: {from: queue, stages: [local, judge], before-accept: [JUDGE]}}
      nodes: {one: {stages: [local]}, other: {gateways: all, stages: [judge]}}
      """
    #expect(mistakes(text.replacing("JUDGE", with: "judge")) == [])
    let found = mistakes(text.replacing("JUDGE", with: "local"))
    #expect(found.count == 1 && found[0].contains("node `other` runs gateway `queue`, which need the data folder"))
  }

  @Test func gatewaysAreAskedAboutTheirOptions() {
    #expect(
      mistakes(good, [("gateways.smtp.listen", "127.0.0.1:1")]).map { $0.hasSuffix("gateway `smtp`: not there") } == [
        true
      ])
  }

  @Test func readsWhatIsThereAndFillsInTheRest() throws {
    let topology = try parse(good)
    #expect(topology.flows.map(\.name) == ["inbound"])
    let store = try #require(topology[flow: "inbound"]?["store"])
    #expect(store.needs == ["validate"] && store.timeout == .seconds(120) && store.order == .key)
    #expect(store.concurrency == 8 && store.options.int("max-size") == 65_536 && store.options.text("mode") == "strict")
    let validate = try #require(topology[flow: "inbound"]?["validate"])
    #expect(
      validate.concurrency == 4 && validate.retry == [.seconds(1), .seconds(60)] && validate.giveUp == .seconds(7200))
    #expect(topology[flow: "inbound"]?["virus-scan"]?.on == ["infected": .deadLetter])
    #expect(topology.sections["domains"] == .list(["example.com", "example.org"]))
    #expect(topology.gateways.first?.options.text("listen") == "127.0.0.1:2525")
    #expect(
      try parse(good, [], ["SECOND": "example.net"]).sections["domains"] == .list(["example.com", "example.net"]))
  }

  @Test func valuesCanBeOverridden() throws {
    let topology = try parse(
      good, [("gateways.smtp.listen", "127.0.0.1:0"), ("stages.store.timeout", "5s"), ("window", "1d")])
    #expect(topology.gateways.first?.options.text("listen") == "127.0.0.1:0")
    #expect(topology[flow: "inbound"]?["store"]?.timeout == .seconds(5) && topology.window == .seconds(86_400))
  }

  @Test func everyMistakeIsNamedAtOnceWithItsPlace() {
    let text = """
      version: 1
      brokr: embedded
      gateways: {smtp: {listen: nowhere}, sntp: {}}
      flows:
        inbound:
          from: [smtp, web]
          stages: [validate, virus-scn, store, validate]
          on: {store.full: drop}
      stages:
        store: {needs: [notify], max-size: lots, mdoe: strict, retry: [1m, 1s]}
        archive: {}
      """
    #expect(
      mistakes(text) == [
        "t.yaml:2:1: error: a topology has no key `brokr`; did you mean `broker`?",
        "t.yaml:3:27: error: `listen` takes an address HOST:PORT, found `nowhere`; for example 127.0.0.1:2525 or [::1]:2525; port 0 takes a free one",
        "t.yaml:3:37: error: there is no gateway `sntp`; did you mean `smtp`?",
        "t.yaml:6:11: error: gateway `web` puts no messages in",
        "t.yaml:7:24: error: there is no stage `virus-scn`; did you mean `virus-scan`?",
        "t.yaml:7:35: error: stage `store` needs `notify`, which flow `inbound` does not have",
        "t.yaml:7:42: error: stage `validate` is already in flow `inbound`, in line 7",
        "t.yaml:8:10: error: stage `store` has no outcome `full`; it has none",
        "t.yaml:10:38: error: `max-size` takes a size from 1 to 1GiB, found `lots`; write a number and a unit: 512, 64KiB, 25MiB, 1GiB",
        "t.yaml:10:44: error: stage `store` has no option `mdoe`; did you mean `mode`?",
        "t.yaml:10:65: error: `retry` has to rise, found 1s behind 1m",
        "t.yaml:11:3: error: no flow has a stage `archive`",
      ])
  }

  @Test(arguments: [
    ("", "the topology is empty"), ("- a\n", "a topology is a mapping, found a list"),
    ("version: 1\nflows: {}\n", "the topology has no flows"),
    ("version: 1\nflows: {a: {stages: [store]}}\n", "nothing feeds flow `a`"),
    (
      "version: 1\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [store]}, b: {from: smtp, stages: [store]}}\n",
      "feeds flow `a` already"
    ),
    (
      "version: 1\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [virus-scan], on: {virus-scan.infected: b}}, b: {stages: [virus-scan], on: {virus-scan.infected: a}}}\n",
      "leads back into itself"
    ),
    (
      "version: 1\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [store, virus-scan], on: {virus-scan.infected: store}}}\n",
      "round in a circle"
    ),
    ("a: &a [*a]\n", "within its own anchor"), ("a: 1\na: 2\n", "already there"), ("a: \u{1}\n", "control characters"),
  ])
  func refuses(_ text: String, _ words: String) {
    #expect(mistakes(text).contains { $0.contains(words) }, "\(mistakes(text))")
  }

  @Test func hostileTextsAreBounded() {
    #expect(!mistakes(String(repeating: "[", count: 1 << 20)).isEmpty)
    #expect(!mistakes(String(repeating: "x", count: 2 << 20)).isEmpty)
    var bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in 1...9 {
      bomb += "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ",") + "]\n"
    }
    #expect(mistakes(bomb).contains { $0.contains("aliases counted in full") })
  }

  @Test func kafkaTakesAnyPropertyAndSecretsFromTheEnvironment() throws {
    let text = good.replacing(
      "broker: embedded",
      with: "broker: kafka://b1:9092,b2:9092\nkafka: {security.protocol: sasl_ssl, sasl: {password: \"${SECRET}\"}}")
    let topology = try parse(text, [("kafka.linger.ms", "5")], ["SECRET": "s3cret"])
    #expect(
      topology.broker
        == .kafka(
          bootstrap: "b1:9092,b2:9092",
          properties: ["security.protocol": "sasl_ssl", "sasl.password": "s3cret", "linger.ms": "5"]))
    #expect(mistakes(good.replacing("broker: embedded", with: "broker: kafka://")).count == 1)
    #expect(
      mistakes(good.replacing("broker: embedded", with: "broker: embedded\nkafka: {acks: all}")) == [
        "t.yaml:4:1: error: `kafka` says how to speak to Kafka, but `broker` is embedded; "
          + "write `broker: kafka://HOST:PORT`"
      ])
  }

  @Test func contentIsInTheFolderOrInS3() throws {
    #expect(try parse(good).content == .folder)
    #expect(try parse(good + "\ncontent:").content == .folder)
    let text = good + "\ncontent: {s3: 'https://s3.example.com/my-mail/a/b/', access-key: KEY, secret-key: \"${S}\"}"
    let topology = try parse(text, [], ["S": "Ab+/9=="])
    guard case .s3(let settings) = topology.content else { throw TopologyError([]) }
    #expect(settings.endpoint == "https://s3.example.com" && settings.bucket == "my-mail" && settings.prefix == "a/b")
    #expect(settings.region == "us-east-1" && settings.accessKey == "KEY" && settings.secretKey == "Ab+/9==")
    #expect(settings.authorities == nil)
    #expect(!"\(topology)".contains("Ab+/9") && "\(topology)".contains("https://s3.example.com/my-mail/a/b"))
    let overridden = try parse(text, [("content.s3", "http://[::1]:8333/mail"), ("content.ca", "/ca.pem")], ["S": "x"])
    guard case .s3(let other) = overridden.content else { throw TopologyError([]) }
    #expect(other.description == "http://[::1]:8333/mail" && other.authorities == "/ca.pem")
  }

  @Test(arguments: [
    ("s3: 'https://h/b-b', access-key: K", "`content` needs the option `secret-key`"),
    ("s3: 'https://h/b-b', access-key: K, secret-key: S, bucket: b", "`content` has no option `bucket`"),
    ("s3: 'https://h/b-b', access-key: K, secret-key: 'TOP S'", "`secret-key` takes a word"),
    ("s3: 'https://h/b-b', access-key: '', secret-key: S", "`access-key` takes a word"),
    ("s3: 'https://h/b-b', access-key: K, secret-key: [TOP S]", "`secret-key` takes a text, found"),
    ("s3: 'https://h', access-key: K, secret-key: S", "`s3` takes http(s)"),
    ("s3: 'https://h/B', access-key: K, secret-key: S", "`s3` takes http(s)"),
    ("s3: 'ftp://h/b-b', access-key: K, secret-key: S", "`s3` takes http(s)"),
    ("s3: 'https://K:TOP S@h/b-b', access-key: K, secret-key: S", "`s3` takes http(s)"),
    ("s3: 'https://h/b-b/../c', access-key: K, secret-key: S", "`s3` takes http(s)"),
    ("s3: 'https://h/b-b/a?x=y', access-key: K, secret-key: S", "`s3` takes http(s)"),
  ])
  func contentThatCannotBeUsed(_ content: String, _ expected: String) throws {
    let found = mistakes(good + "\ncontent: {\(content)}")
    #expect(found.count == 1 && found.first?.contains(expected) == true, "\(found)")
    #expect(found.first?.contains("TOP S") != true && found.first?.hasPrefix("t.yaml:14:") == true, "\(found)")
  }

  @Test func damageNeverTraps() {
    var state: UInt64 = 7
    func next(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    for _ in 0..<300 {
      var bytes = Array(good.utf8)
      for _ in 0...next(4) { bytes[next(bytes.count)] = UInt8(next(256)) }
      _ = mistakes(String(decoding: bytes, as: UTF8.self))
    }
  }

  @Test func picturesComeFromTheModel() throws {
    let topology = try parse(good)
    #expect(
      TopologyGraph.render(topology, as: .mermaid) == """
        flowchart LR
          smtp([smtp]) --> inbound_validate
          inbound_validate[validate] --> inbound_virus_scan[virus-scan]
          inbound_virus_scan[virus-scan] --> inbound_store[store]
          inbound_virus_scan -. infected .-> dead_letter
        """)
    #expect(TopologyGraph.render(topology, as: .text).contains("└ infected → dead-letter"))
    #expect(TopologyGraph.render(topology, as: .dot).hasPrefix("digraph \"mail\" {"))
  }

  @Test(arguments: [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)])
  func durations(_ text: String, _ milliseconds: Int64) {
    #expect(DurationText.parse(text) == .milliseconds(milliseconds))
    #expect(DurationText.parse(DurationText.short(.milliseconds(milliseconds))) == .milliseconds(milliseconds))
  }
  @Test(arguments: ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999999d", "1w"])
  func noDurations(_ text: String) { #expect(DurationText.parse(text) == nil) }

  // MARK: Nodes

  private func spread(_ nodes: String) -> String {
    good.replacing("broker: embedded", with: "broker: kafka://a:1")
      + "\ncontent: {s3: \"http://a:1/bucket\", access-key: k, secret-key: s}\nnodes: \(nodes)\n"
  }

  @Test func nodesSayWhatRunsWhere() throws {
    let topology = try parse(
      spread("{box: {gateways: all, stages: [store]}, scan: {stages: [inbound.validate, virus-scan]}}"))
    #expect(topology.nodes.map(\.name) == ["box", "scan"])
    #expect(topology.nodes[0].gateways == ["smtp", "web"] && topology.nodes[0].stages.map(\.stage) == ["store"])
    #expect(topology.nodes[1].stages.map(\.stage) == ["validate", "virus-scan"])
  }

  @Test(
    arguments: [
      ("[box]", "`nodes` has to be a mapping"),
      ("{box: {gateways: all, stages: [store, validate]}}", "no node runs stage `inbound.virus-scan`"),
      ("{box: {gateways: [smpt, web], stages: all}}", "the topology has no gateway `smpt`"),
      ("{box: {gateway: all, stages: all}}", "node `box` has no key `gateway`"),
      ("{Box: {gateways: all, stages: all}}", "the name of a node takes"),
      ("{a: {gateways: [smtp], stages: all}, b: {gateways: [web]}}", "a data folder is on one machine"),
    ])
  func nodesThatCannotBe(_ nodes: String, _ mistake: String) {
    let mistakes = mistakes(spread(nodes))
    #expect(mistakes.contains { $0.contains(mistake) }, "\(mistakes)")
  }
}

extension Topology.Gateway {
  /// A gateway with options that were checked.
  public init(_ name: String, options: OptionValues) {
    self.name = name
    self.options = options
  }
}

extension Topology.Flow {
  /// A flow fed by `sources`.
  public init(_ name: String, from sources: [String], stages: [Topology.StageSettings], beforeAccept: [String] = []) {
    self.name = name
    self.sources = sources
    self.stages = stages
    self.beforeAccept = beforeAccept
  }
}

extension Topology.StageSettings {
  /// A stage with the defaults of the file; `use` is the name unless it is given.
  public init(_ name: String, use: String? = nil, options: OptionValues = OptionValues(schema: OptionSchema([]))) {
    self.name = name
    self.use = use ?? name
    partitions = 1
    retry = [.seconds(10), .seconds(60), .seconds(600)]
    giveUp = .seconds(86_400)
    timeout = .seconds(30)
    slowAfter = .seconds(5)
    slowBudget = 64
    concurrency = 16
    order = .none
    needs = []
    on = [:]
    isolate = false
    self.options = options
  }
}

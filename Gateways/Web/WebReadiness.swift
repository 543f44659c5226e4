public import Pipeline

/// Whether the service can do its work, for `/readyz`.
public struct WebReadiness: Sendable {
  /// One stage that runs.
  public struct Stage: Sendable {
    /// The stage and its flow.
    public let name: StageName
    /// How it is doing.
    public let state: StageState
    /// Whether an operator stopped it.
    public let isPaused: Bool

    /// How a stage is doing.
    public init(_ name: StageName, _ state: StageState, isPaused: Bool = false) {
      self.name = name
      self.state = state
      self.isPaused = isPaused
    }
  }

  /// Whether everything accepts.
  public let isReady: Bool
  /// Every stage, in the order in which they are shown.
  public let stages: [Stage]

  /// Whether the service can do its work.
  public init(isReady: Bool, stages: [Stage] = []) {
    self.isReady = isReady
    self.stages = stages
  }

  var response: WebResponse {
    let stages = stages.map { stage -> JSONValue in
      [
        "flow": .string(stage.name.flow), "stage": .string(stage.name.stage),
        "state": .string(stage.isPaused ? "paused" : stage.state.word), "reason": .string(stage.state.reason),
      ]
    }
    return .json(["ready": .bool(isReady), "stages": .array(stages)], status: isReady ? 200 : 503)
  }
}

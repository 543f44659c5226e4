import Network
import Pipeline

/// Whether the service can do its work, for `/readyz`.
public struct Readiness: Sendable {
  /// How one stage is doing.
  public struct Stage: Sendable {
    let flow: String
    let stage: String
    let state: String
    let reason: String

    /// How one stage is doing: `state` is `running`, `paused`, `circuit-open` or `restarting`.
    public init(flow: String, stage: String, state: String, reason: String) {
      self.flow = flow
      self.stage = stage
      self.state = state
      self.reason = reason
    }
  }

  let isReady: Bool
  let stages: [Stage]

  /// Whether everything works, and how each stage is doing, in the order in which they are shown.
  public init(isReady: Bool, stages: [Stage]) {
    self.isReady = isReady
    self.stages = stages
  }

  var response: HTTPResponse {
    let stages = stages.map { stage -> JSONValue in
      [
        "flow": .string(stage.flow), "stage": .string(stage.stage), "state": .string(stage.state),
        "reason": .string(stage.reason),
      ]
    }
    return .json(["ready": .bool(isReady), "stages": .array(stages)], status: isReady ? 200 : 503)
  }
}

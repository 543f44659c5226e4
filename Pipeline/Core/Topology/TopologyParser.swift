import YAML

/// Reads `topology.yaml`.
public enum TopologyParser {
  /// Reads a topology and checks all of it.
  ///
  /// - Parameters:
  ///   - file: how diagnostics name it.
  ///   - overrides: `--set`: dotted paths, and values in YAML.
  ///   - environment: for `${NAME}`.
  ///   - vocabulary: the stages, gateways and sections that may be used.
  /// - Throws: `TopologyError` with every mistake that was found.
  public static func parse(
    text: String, file: String, overrides: [(path: String, value: String)] = [],
    environment: [String: String] = [:], vocabulary: Vocabulary
  ) throws(TopologyError) -> Topology {
    let document = Document(text)
    var diagnostics = document.problems.map { problem in
      Diagnostic(file: file, line: problem.mark.line, column: problem.mark.column, message: problem.message)
    }
    guard var root = document.root else {
      if diagnostics.isEmpty {
        diagnostics = [
          Diagnostic(file: file, line: 1, column: 1, message: "the topology is empty", hint: "it begins `version: 1`")
        ]
      }
      throw TopologyError(diagnostics)
    }
    for override in overrides {
      let value = Document(override.value)
      if let problem = value.problems.first {
        diagnostics.append(
          Diagnostic(
            file: "--set \(override.path)", line: problem.mark.line, column: problem.mark.column,
            message: problem.message))
        continue
      }
      let new = value.root ?? Node(.scalar("", isPlain: true), mark: root.mark)
      root = root.setting(override.path.split(separator: ".").map(String.init)[...], to: new)
    }
    var expansion = EnvironmentExpansion(environment)
    root = expansion.expand(root)
    var reader = TopologyReader(root, vocabulary)
    let topology = reader.read()
    for problem in expansion.problems + reader.options.complaints {
      diagnostics.append(
        Diagnostic(
          file: file, line: problem.mark.line, column: problem.mark.column, message: problem.message,
          hint: problem.hint))
    }
    guard diagnostics.isEmpty else {
      throw TopologyError(diagnostics.sorted { ($0.line, $0.column) < ($1.line, $1.column) })
    }
    return topology
  }
}

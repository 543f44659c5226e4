public import Pipeline

extension Message {
  /// A header field that is put before the message when it is stored; folded lines begin with a tab.
  public mutating func addTraceHeader(_ name: String, _ value: String) {
    annotate(MailAnnotations.traceHeaders, (annotation(MailAnnotations.traceHeaders) ?? "") + "\(name): \(value)\r\n")
  }
}

/// The header fields that we put before what was received (RFC 5321 section 4.4).
public enum TraceHeaders {
  /// `Return-Path: <…>`, which final delivery adds; `<>` for the null reverse-path.
  public static func returnPath(_ sender: EmailAddress?) -> String {
    "Return-Path: <\(sender.map(\.description) ?? "")>\r\n"
  }

  /// `Received: from HELO (NAME [ADDRESS]) by HOST with PROTOCOL (ENCRYPTION) id ID for <RECIPIENT>; DATE`, folded.
  ///
  /// - Parameters:
  ///   - id: of the message in our pipeline.
  ///   - recipient: named only when there was one: the others of a message must not learn of each other.
  ///   - time: when we accepted the message.
  public static func received(
    _ envelope: Envelope, host: String, id: MessageID, recipient: EmailAddress?, time: Timestamp
  ) -> String {
    var text = "Received: "
    if let helo = envelope.helo ?? envelope.remoteAddress.map({ literal($0) }) {
      text += "from \(clean(helo, or: "unknown"))"
      if let address = envelope.remoteAddress {
        let name = envelope.remoteName.map { clean($0, or: "unknown") + " " } ?? ""
        text += " (\(name)\(literal(address)))"
      }
      text += "\r\n\t"
    }
    text += "by \(clean(host, or: "localhost")) with \(clean(envelope.protocolName, or: "SMTP"))"
    if let encryption = envelope.encryption {
      text += " (\(encryption.split(separator: " ").map { clean(String($0), or: "?") }.joined(separator: " ")))"
      text += "\r\n\t"
    } else {
      text += " "
    }
    text += "id \(id)"
    if let recipient { text += "\r\n\tfor <\(recipient)>" }
    return text + ";\r\n\t\(MailDate(time))\r\n"
  }

  /// `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
  private static func literal(_ address: String) -> String {
    let address = clean(address, or: "unknown")
    return address.contains(":") ? "[IPv6:\(address)]" : "[\(address)]"
  }

  /// What clients say about themselves may be anything: only visible ASCII without comment signs stays, 255 at most.
  private static func clean(_ text: String, or replacement: String) -> String {
    let kept = text.utf8.prefix(255).filter { (33...126).contains($0) && !"();<>\\\"".utf8.contains($0) }
    return kept.isEmpty ? replacement : String(decoding: kept, as: UTF8.self)
  }
}

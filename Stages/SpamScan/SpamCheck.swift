import Mail
import Pipeline

/// What rules can ask for that is no word: about headers, structure and links.
enum SpamCheck: String, Sendable, CaseIterable {
  case missingDate = "missing-date"
  case dateInFuture = "date-in-future"
  case dateInPast = "date-in-past"
  case missingMessageID = "missing-message-id"
  case missingFrom = "missing-from"
  case severalFrom = "several-from"
  case missingTo = "missing-to"
  case missingSubject = "missing-subject"
  case subjectInCapitals = "subject-in-capitals"
  case subjectExclaims = "subject-exclaims"
  case fromNameIsOtherAddress = "from-name-is-other-address"
  case replyToOtherDomain = "reply-to-other-domain"
  case senderOtherDomain = "sender-other-domain"
  case heloIsAddress = "helo-is-address"
  case heloWithoutDot = "helo-without-dot"
  case onlyHTML = "only-html"
  case onlyImages = "only-images"
  case emptyText = "empty-text"
  case brokenMIME = "broken-mime"
  case eightBitHeader = "eight-bit-header"
  case linkToAddress = "link-to-address"
  case linkShowsOtherHost = "link-shows-other-host"
  case manyLinks = "many-links"
  case doubleFileEnding = "double-file-ending"

  /// Whether it holds of a message.
  func holds(_ facts: SpamFacts) -> Bool {
    let header = facts.header
    switch self {
    case .missingDate: return facts.date == nil
    case .dateInFuture: return facts.date.map { $0 - facts.acceptedAt > .seconds(86_400) } ?? false
    case .dateInPast: return facts.date.map { facts.acceptedAt - $0 > .seconds(30 * 86_400) } ?? false
    case .missingMessageID: return header.messageID == nil
    case .missingFrom: return facts.from.mailboxes.isEmpty
    case .severalFrom: return header.count(of: "from") > 1
    case .missingTo: return header.first("to") == nil && header.first("cc") == nil
    case .missingSubject: return facts.subject.allSatisfy(\.isWhitespace)
    case .subjectInCapitals: return isInCapitals(facts.subject)
    case .subjectExclaims: return facts.subject.filter { $0 == "!" }.count >= 3
    case .fromNameIsOtherAddress:
      return facts.from.mailboxes.contains { mailbox in
        guard let at = mailbox.name.lastIndex(of: "@") else { return false }
        let shown = mailbox.name[mailbox.name.index(after: at)...].prefix {
          $0.isLetter || $0.isNumber || $0 == "." || $0 == "-"
        }
        return shown.contains(".") && !isSame(String(shown), mailbox.domain)
      }
    case .replyToOtherDomain:
      guard let from = facts.from.mailboxes.first?.domain, let field = header.first("reply-to") else { return false }
      return AddressList(field).mailboxes.contains { !isSame($0.domain, from) }
    case .senderOtherDomain:
      guard let from = facts.from.mailboxes.first?.domain, let sender = facts.envelope.sender else { return false }
      return !isSame(sender.domain, from)
    case .heloIsAddress:
      return facts.envelope.helo.map { Self.isIPv4($0) } ?? false
    case .heloWithoutDot: return facts.envelope.helo.map { !$0.contains(".") && !$0.contains(":") } ?? false
    case .onlyHTML: return has("text/html", facts) && !has("text/plain", facts)
    case .onlyImages:
      return facts.text.utf8.count < 80 && facts.mime.parts.contains { $0.type.value.hasPrefix("image/") }
    case .emptyText: return facts.text.allSatisfy(\.isWhitespace) && facts.fileNames.isEmpty
    case .brokenMIME: return !facts.mime.defects.isEmpty
    case .eightBitHeader: return header.defects.contains(.eightBit) && !facts.envelope.protocolName.hasPrefix("UTF8")
    case .linkToAddress: return facts.links.contains { Self.isIPv4($0.host) }
    case .linkShowsOtherHost: return facts.links.contains { showsOtherHost($0) }
    case .manyLinks: return facts.links.count >= 50
    case .doubleFileEnding: return facts.fileNames.contains { hasDoubleEnding($0) }
    }
  }

  private func has(_ type: String, _ facts: SpamFacts) -> Bool {
    facts.mime.parts.contains { $0.type.value == type && !facts.mime.isAttachment($0) }
  }

  private func isInCapitals(_ text: String) -> Bool {
    let letters = text.unicodeScalars.filter { $0.properties.isUppercase || $0.properties.isLowercase }
    return letters.count >= 10 && letters.filter { $0.properties.isUppercase }.count * 10 >= letters.count * 9
  }

  /// Whether one is the other, or within it.
  private func isSame(_ one: String, _ other: String) -> Bool {
    let (one, other) = (one.lowercased(), other.lowercased())
    return one == other || one.hasSuffix(".\(other)") || other.hasSuffix(".\(one)")
  }

  private static func isIPv4(_ text: String) -> Bool {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
  }

  /// A link that reads as an address of the web, and leads elsewhere.
  private func showsOtherHost(_ link: HTMLLinks.Link) -> Bool {
    let words = link.text.lowercased().split(whereSeparator: \.isWhitespace)
    guard words.count == 1, let word = words.first else { return false }
    var shown = HTMLLinks.host(ofURL: Array(word.utf8)[...])
    if shown == nil, word.hasPrefix("www.") { shown = HTMLLinks.host(ofURL: Array("http://\(word)".utf8)[...]) }
    guard let shown, shown.contains(".") else { return false }
    return !isSame(bare(shown), bare(link.host))
  }

  private func bare(_ host: String) -> String { host.hasPrefix("www.") ? String(host.dropFirst(4)) : host }

  private func hasDoubleEnding(_ name: String) -> Bool {
    let parts = name.lowercased().split(separator: ".").suffix(2)
    return parts.count == 2
      && ["pdf", "doc", "docx", "xls", "xlsx", "jpg", "png", "txt", "zip"].contains(String(parts.first ?? ""))
      && ["exe", "scr", "js", "vbs", "bat", "cmd", "com", "pif", "html", "htm", "lnk", "hta"].contains(
        String(parts.last ?? ""))
  }
}

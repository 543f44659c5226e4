import FuzzKit
import Mail
import Pipeline

/// What must hold of every message, whatever its bytes: for the fuzzer, and for damaged messages in unit tests.
public enum MIMEFuzz {
  /// The first rule that does not hold of these bytes; nil: all do.
  public static func brokenRule(_ bytes: [UInt8]) -> String? {
    let limits = MIMEMessage.Limits(depth: 10, parts: 50)
    let message = MIMEMessage(Bytes(bytes), limits: limits)
    return structure(message, limits) ?? content(message) ?? texts(message) ?? fields(message, bytes)
  }

  private static func structure(_ message: MIMEMessage, _ limits: MIMEMessage.Limits) -> String? {
    let count = message.bytes.count
    if message.parts.isEmpty || message.parts.count > limits.parts { return "number of parts" }
    if message.parts[0].range != 0..<count { return "the first part is the message" }
    var before = 0
    for (index, part) in message.parts.enumerated() {
      if part.index != index || part.end <= index || part.end > message.parts.count { return "places" }
      if part.depth > limits.depth { return "depth" }
      if part.range.lowerBound < before || part.range.upperBound > count { return "parts in order" }
      before = part.range.lowerBound
      if part.bodyRange.lowerBound != part.range.lowerBound + part.header.bodyStart
        || part.bodyRange.upperBound != part.range.upperBound || part.body.count != part.bodyRange.count
      {
        return "body of a part"
      }
      if !part.defects.isSubset(of: message.defects) { return "defects" }
      var end = part.bodyRange.lowerBound
      for child in message.children(of: part) {
        if child.parent != index || child.depth != part.depth + 1 { return "children" }
        if child.range.lowerBound < end || child.range.upperBound > part.bodyRange.upperBound { return "slices" }
        end = child.range.upperBound
      }
      if part.isContainer != !message.children(of: part).isEmpty { return "containers" }
    }
    let leaves = message.parts.filter { !$0.isContainer }.map(\.number)
    if leaves.contains("") || Set(leaves).count != leaves.count { return "numbers" }
    return nil
  }

  private static func content(_ message: MIMEMessage) -> String? {
    for part in message.parts {
      let whole = part.content()
      if whole.count > part.body.count || part.size != whole.count { return "decoded size" }
      var decoder = TransferDecoder(part.encoding, part.body)
      var at = 0
      while true {
        let piece = decoder.next(100)
        if piece.isEmpty { break }
        if whole[at..<min(whole.count, at + piece.count)] != piece { return "pieces" }
        at += piece.count
      }
      if at != whole.count { return "all pieces" }
      if part.content(limit: 7) != whole[0..<min(7, whole.count)], part.encoding != .uuencode { return "limit" }
      if let name = part.fileName, name.isEmpty || name.utf8.count > 255 || name.contains("/") || !isClean(name) {
        return "file name"
      }
    }
    return nil
  }

  private static func texts(_ message: MIMEMessage) -> String? {
    // A byte may become three, an entity of two bytes' charset no more; and a line break between parts.
    if message.text().utf8.count > 4 * message.bytes.count + 16 { return "size of the text" }
    let summary = MessageSummary(message)
    if summary.preview.count > 200 || summary.hasAttachment != !message.attachments.isEmpty { return "summary" }
    let shown = [summary.from, summary.to, summary.subject, summary.preview, summary.messageID ?? ""]
    return shown.allSatisfy(isClean) ? nil : "controls in what is shown"
  }

  private static func fields(_ message: MIMEMessage, _ bytes: [UInt8]) -> String? {
    var values = message.parts.flatMap { $0.header.fields.map(\.rawValue) }
    values.append(Bytes(bytes))
    for value in values.suffix(50) {
      let list = AddressList(value)
      for mailbox in list.mailboxes {
        if !isClean(mailbox.name) || !isClean(mailbox.localPart) || !isClean(mailbox.domain) { return "address" }
        if let group = mailbox.group, !list.groups.indices.contains(group) { return "group" }
        if let address = mailbox.address, EmailAddress(address.description, allowingUTF8: true) != address {
          return "address for an envelope"
        }
      }
    }
    for level in HeaderCheck.Level.allCases { _ = HeaderCheck(level: level).problem(message.header) }
    for field in message.header.fields {
      if let date = MailDate(field.unfolded), MailDate(date.description.utf8) != date { return "date" }
    }
    return nil
  }

  private static func isClean(_ text: String) -> Bool {
    !text.unicodeScalars.contains { $0.value < 32 || (127..<160).contains($0.value) }
  }
}

#if FUZZING
  /// What libFuzzer calls with each input.
  @_cdecl("LLVMFuzzerTestOneInput")
  public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    tryInput(start, count, MIMEFuzz.brokenRule)
  }
#endif

import Mail
import Pipeline

/// What each command does (RFC 5321 section 4.1.4 has the order).
extension SMTPSession {
  mutating func handle(_ event: SMTPLineReader.Event, at now: Timestamp) -> Action? {
    switch event {
    case .line(let line):
      do {
        return perform(try SMTPCommandParser.parse(line), at: now)
      } catch {
        if error == .chunk { return close(error.reply) }
        if error == .unknownCommand, client == nil, Self.isOtherProtocol(line) { return close(.notSMTP) }
        return next(reply(error.reply, at: now))
      }
    case .bareLineFeed: return bareLineEnding(.commandBareLineFeed, at: now)
    case .bareReturn: return bareLineEnding(.commandBareReturn, at: now)
    case .nul, .tooLong:
      // Nobody greets so; a request of another protocol may look so.
      if client == nil { return close(.notSMTP) }
      return next(reply(event == .nul ? .commandNUL : .commandTooLong, at: now))
    case .flood: return close(.tooManyErrors)
    }
  }

  private mutating func perform(_ command: SMTPCommand, at now: Timestamp) -> Action? {
    if case .rcpt(let named) = command { return recipient(named, at: now) }
    if case .bdat(let octets, _) = command, octets >= Self.usefulChunk {} else { idleCommands += 1 }
    if idleCommands > configuration.maximumIdleCommands, command != .quit { return close(.tooManyCommands) }
    switch command {
    case .ehlo(let name):
      client = (name, true)
      endTransaction()
      let size = "SIZE \(configuration.maximumMessageSize)"
      let security = configuration.offersTLS && tls == nil ? ["STARTTLS"] : []
      let lines = [configuration.hostname, size] + configuration.extensions + security
      return next(reply(SMTPReply(250, nil, lines: lines), at: now))
    case .helo(let name):
      client = (name, false)
      endTransaction()
      return next(reply(SMTPReply(250, nil, configuration.hostname), at: now))
    case .mail(let mail):
      guard messages < configuration.maximumMessages else { return close(.tooManyMessages) }
      return next(reply(begin(mail, at: now), at: now))
    case .rcpt: return nil
    case .data: return data(at: now)
    case .bdat(let octets, let isLast): return chunk(octets, isLast, at: now)
    case .startTLS:
      guard tls == nil else { return next(reply(.isTLS, at: now)) }
      guard configuration.offersTLS else { return next(reply(.noTLS, at: now)) }
      phase = .securing
      return .startTLS
    case .rset:
      endTransaction()
      return next(reply(.ok, at: now))
    case .noop: return next(reply(.ok, at: now))
    case .vrfy: return next(reply(.cannotVerify, at: now))
    case .expn: return next(reply(.noExpansion, at: now))
    case .help: return next(reply(.help, at: now))
    case .quit: return close(SMTPReply(221, "2.0.0", "\(configuration.hostname) closing connection"))
    }
  }

  private mutating func begin(_ mail: SMTPCommand.Mail, at now: Timestamp) -> SMTPReply {
    guard client != nil else { return .helloFirst }
    guard tls != nil || !configuration.requiresTLS else { return .needsTLS }
    guard transaction == nil else { return .nestedMail }
    if let size = mail.size, size > configuration.maximumMessageSize {
      return .messageTooLarge(configuration.maximumMessageSize)
    }
    guard allowance?.takeMessage(at: now) ?? true else { return .messagesTooFast }
    messages += 1
    transaction = Transaction(reversePath: mail.reversePath, body: mail.body, isInternational: mail.isInternational)
    return .senderOk
  }

  private mutating func recipient(_ named: SMTPCommand.Recipient, at now: Timestamp) -> Action? {
    guard let transaction else { return next(reply(client == nil ? .helloFirst : .mailFirst, at: now)) }
    guard chunks == nil else { return next(reply(.mixedChunks, at: now)) }
    self.transaction?.questions += 1
    guard transaction.questions < configuration.maximumRecipients * 2 else { return close(.tooManyCommands) }
    guard transaction.recipients.count < configuration.maximumRecipients else {
      return next(reply(.tooManyRecipients, at: now))
    }
    guard allowance?.takeRecipient(at: now) ?? true else { return next(reply(.recipientsTooFast, at: now)) }
    let address: EmailAddress
    switch named {
    case .address(let named):
      guard transaction.isInternational || named.description.utf8.allSatisfy({ $0 < 128 }) else {
        return next(reply(.needsUTF8, at: now))
      }
      address = named
    case .postmaster:
      let domain = configuration.postmasterDomain ?? configuration.hostname
      guard let postmaster = EmailAddress("postmaster@\(domain)") else {
        return next(reply(.unknownRecipient, at: now))
      }
      address = postmaster
    }
    phase = .resolving(address)
    return .resolve(address)
  }

  private mutating func data(at now: Timestamp) -> Action? {
    guard let transaction else { return next(reply(client == nil ? .helloFirst : .mailFirst, at: now)) }
    guard chunks == nil else { return next(reply(.mixedChunks, at: now)) }
    guard !transaction.recipients.isEmpty else { return next(reply(.noValidRecipients, at: now)) }
    if isDraining { return close(.shuttingDown) }
    SMTPReply.startData.encode(into: &output)
    isOutOfStorage = false
    phase = .data(SMTPDataReader(limit: configuration.maximumMessageSize), began: nil)
    deadline = now + configuration.timeLimits.dataStart
    return nil
  }

  /// Octets of a chunk below which it counts as a command that brings nothing.
  private static let usefulChunk = 1024

  /// The octets of a chunk come in any case, and must not be taken for commands (RFC 3030 section 2).
  private mutating func chunk(_ octets: Int, _ isLast: Bool, at now: Timestamp) -> Action? {
    var refusal: SMTPReply?
    if let transaction {
      if transaction.recipients.isEmpty { refusal = .noValidRecipients }
    } else {
      refusal = client == nil ? .helloFirst : .mailFirst
    }
    if refusal != nil || chunks == nil {
      isOutOfStorage = false
      chunks = SMTPChunkReader(limit: refusal == nil ? configuration.maximumMessageSize : 0)
    }
    chunks?.begin(octets: octets, isLast: isLast)
    phase = .chunk(refusal: refusal, began: nil)
    deadline = now + configuration.timeLimits.dataStart
    return octets == 0 ? finishChunk(refusal, at: now) : nil
  }

  /// The end of a chunk was read.
  mutating func finishChunk(_ refusal: SMTPReply?, at now: Timestamp) -> Action? {
    phase = .command
    guard refusal == nil, let chunks else {
      chunks = nil
      return next(reply(refusal ?? .mailFirst, at: now))
    }
    if chunks.isLast || chunks.defect != nil || isOutOfStorage { return finish(chunks.content, chunks.defect, at: now) }
    return next(reply(.chunkTaken(chunks.size), at: now))
  }

  mutating func awaitBlock(began: Timestamp, at now: Timestamp) {
    let limits = configuration.timeLimits
    deadline = min(now + limits.dataBlock, began + limits.message)
  }

  mutating func endTransaction() {
    transaction = nil
    chunks = nil
  }

  /// The end of a message was read: it goes to the acceptor, or is refused for what is wrong with it.
  mutating func finish(_ content: [UInt8], _ defect: SMTPDataReader.Defect?, at now: Timestamp) -> Action? {
    let transaction = self.transaction
    endTransaction()
    phase = .command
    if let defect {
      switch defect {
      case .tooLarge: return next(reply(.messageTooLarge(configuration.maximumMessageSize), at: now))
      case .lineTooLong: return next(reply(.lineTooLong(SMTPDataReader.maximumLineLength), at: now))
      case .bareLineEnding: return next(reply(.bareLineEnding, at: now))
      }
    }
    guard !isOutOfStorage, let transaction, let client else { return next(reply(.storageFull, at: now)) }
    phase = .accepting
    return .accept(
      ReceivedMail(
        reversePath: transaction.reversePath, recipients: transaction.recipients, helo: client.name,
        remoteAddress: remoteAddress,
        transmission: .init(
          isExtended: client.isExtended, isInternational: transaction.isInternational, tls: tls),
        body: transaction.body, content: content, received: now))
  }

  /// Answers a command and starts the clock for the next one, unless this was the last one that is listened to.
  mutating func reply(_ reply: SMTPReply, at now: Timestamp) -> Action {
    reply.encode(into: &output)
    deadline = now + configuration.timeLimits.command
    // What is only for now, or our own fault, is no error of the client.
    if reply.code >= 500 {
      errors += 1
      if errors >= configuration.maximumErrors { return close(.tooManyErrors) }
      if let tarpit = configuration.tarpit {
        delay = min(tarpit.longest, delay + tarpit.delay(errors))
        deadline = deadline + delay
      }
    }
    return isDraining ? close(.shuttingDown) : .read
  }

  /// What is left to do for the caller once a command has been answered: nothing, so that pipelined commands go on, or
  /// to close.
  private func next(_ action: Action) -> Action? {
    if case .close = action { return action }
    return nil
  }

  private mutating func bareLineEnding(_ refusal: SMTPReply, at now: Timestamp) -> Action? {
    bareLineEndings += 1
    let action = reply(refusal, at: now)
    if case .close = action { return action }
    return bareLineEndings >= configuration.maximumBareLineEndings ? close(.tooManyErrors) : nil
  }

  mutating func close(_ last: SMTPReply) -> Action {
    if case .closed = phase { return .close }
    phase = .closed
    endTransaction()
    lines = SMTPLineReader()
    last.encode(into: &output)
    return .close
  }

  /// A browser that was made to talk to us: nothing of what it sends may be taken for a command.
  private static func isOtherProtocol(_ line: [UInt8]) -> Bool {
    // PROXY: of a load balancer that nobody trusts; version 2 begins with a NUL in its third line.
    ["PROXY ", "GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ", "PRI ", "PATCH ", "DELETE ", "TRACE "].contains
    {
      line.starts(with: $0.utf8)
    }
  }
}

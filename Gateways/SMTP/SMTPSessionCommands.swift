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
    idleCommands += 1
    if idleCommands > configuration.maximumIdleCommands, command != .quit { return close(.tooManyCommands) }
    switch command {
    case .ehlo(let name):
      client = (name, .esmtp)
      transaction = nil
      let size = "SIZE \(configuration.maximumMessageSize)"
      let lines = [configuration.hostname, size] + configuration.extensions
      return next(reply(SMTPReply(250, nil, lines: lines), at: now))
    case .helo(let name):
      client = (name, .smtp)
      transaction = nil
      return next(reply(SMTPReply(250, nil, configuration.hostname), at: now))
    case .mail(let mail): return next(reply(begin(mail), at: now))
    case .rcpt: return nil
    case .data: return data(at: now)
    case .rset:
      transaction = nil
      return next(reply(.ok, at: now))
    case .noop: return next(reply(.ok, at: now))
    case .vrfy: return next(reply(.cannotVerify, at: now))
    case .expn: return next(reply(.noExpansion, at: now))
    case .help: return next(reply(.help, at: now))
    case .quit: return close(SMTPReply(221, "2.0.0", "\(configuration.hostname) closing connection"))
    }
  }

  private mutating func begin(_ mail: SMTPCommand.Mail) -> SMTPReply {
    guard client != nil else { return .helloFirst }
    guard transaction == nil else { return .nestedMail }
    if let size = mail.size, size > configuration.maximumMessageSize {
      return .messageTooLarge(configuration.maximumMessageSize)
    }
    transaction = Transaction(reversePath: mail.reversePath, body: mail.body)
    return .senderOk
  }

  private mutating func recipient(_ named: SMTPCommand.Recipient, at now: Timestamp) -> Action? {
    guard let transaction else { return next(reply(client == nil ? .helloFirst : .mailFirst, at: now)) }
    self.transaction?.questions += 1
    guard transaction.questions < configuration.maximumRecipients * 2 else { return close(.tooManyCommands) }
    guard transaction.recipients.count < configuration.maximumRecipients else {
      return next(reply(.tooManyRecipients, at: now))
    }
    let address: EmailAddress
    switch named {
    case .address(let named): address = named
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
    guard !transaction.recipients.isEmpty else { return next(reply(.noValidRecipients, at: now)) }
    if isDraining { return close(.shuttingDown) }
    SMTPReply.startData.encode(into: &output)
    isOutOfStorage = false
    phase = .data(SMTPDataReader(limit: configuration.maximumMessageSize), began: nil)
    deadline = now + configuration.timeLimits.dataStart
    return nil
  }

  /// The end of a message was read: it goes to the acceptor, or is refused for what is wrong with it.
  mutating func finish(_ reader: SMTPDataReader, at now: Timestamp) -> Action? {
    let transaction = self.transaction
    self.transaction = nil
    phase = .command
    if let defect = reader.defect {
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
        remoteAddress: remoteAddress, transmission: client.transmission, body: transaction.body,
        content: reader.content, received: now))
  }

  /// Answers a command and starts the clock for the next one, unless this was the last one that is listened to.
  mutating func reply(_ reply: SMTPReply, at now: Timestamp) -> Action {
    reply.encode(into: &output)
    deadline = now + configuration.timeLimits.command
    // What is only for now, or our own fault, is no error of the client.
    if reply.code >= 500 {
      errors += 1
      if errors >= configuration.maximumErrors { return close(.tooManyErrors) }
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
    transaction = nil
    lines = SMTPLineReader()
    last.encode(into: &output)
    return .close
  }

  /// A browser that was made to talk to us: nothing of what it sends may be taken for a command.
  private static func isOtherProtocol(_ line: [UInt8]) -> Bool {
    ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ", "PRI ", "PATCH ", "DELETE ", "TRACE "].contains {
      line.starts(with: $0.utf8)
    }
  }
}

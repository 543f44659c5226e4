extension SpamRules {
  /// The rules that the data folder begins with.
  static let builtIn = """
    # What makes mail look like spam. Each rule that matches adds its score; at the stage's `threshold` (5 by default) a
    # message is filed in Junk. Scores below 0 speak for a message. Read again at every start.
    #
    # A rule has a name, a score, a reason for people, and one of
    #   check: something computed (`mailflow stages` names all of them)
    #   words: words or phrases, of which one is enough; `*` at an end stands for more of the word;
    #          `in` says where: subject, from, to, text, links, files (subject and text if nothing is said)
    rules:
      # Headers
      - {name: NO_DATE, score: 1.0, check: missing-date, reason: it has no Date that can be read}
      - {name: DATE_FUTURE, score: 2.0, check: date-in-future, reason: its Date is more than a day ahead}
      - {name: DATE_PAST, score: 0.8, check: date-in-past, reason: its Date is more than thirty days ago}
      - {name: NO_MESSAGE_ID, score: 0.8, check: missing-message-id, reason: it has no Message-ID}
      - {name: NO_FROM, score: 2.0, check: missing-from, reason: it does not say who wrote it}
      - {name: TWO_FROM, score: 2.5, check: several-from, reason: it says twice who wrote it}
      - {name: NO_TO, score: 0.6, check: missing-to, reason: it does not say whom it is for}
      - {name: NO_SUBJECT, score: 0.5, check: missing-subject, reason: it has no subject}
      - {name: SUBJECT_CAPITALS, score: 1.5, check: subject-in-capitals, reason: its subject is in capitals}
      - {name: SUBJECT_EXCLAIMS, score: 1.0, check: subject-exclaims, reason: its subject exclaims}
      - {name: FROM_FEIGNS, score: 3.0, check: from-name-is-other-address, reason: the name in From is another address}
      - {name: REPLY_ELSEWHERE, score: 0.6, check: reply-to-other-domain, reason: answers go to another domain}
      - {name: SENDER_ELSEWHERE, score: 0.2, check: sender-other-domain, reason: another domain sent it}
      - {name: HELO_ADDRESS, score: 1.8, check: helo-is-address, reason: the client calls itself by a bare address}
      - {name: HELO_NO_DOT, score: 0.3, check: helo-without-dot, reason: the client calls itself by no domain}
      - {name: RAW_8BIT, score: 0.8, check: eight-bit-header, reason: its header has bytes that belong encoded}
      # Structure
      - {name: ONLY_HTML, score: 1.0, check: only-html, reason: it is HTML without a plain text}
      - {name: ONLY_IMAGES, score: 1.5, check: only-images, reason: images and hardly a word}
      - {name: EMPTY, score: 0.8, check: empty-text, reason: there is nothing to read}
      - {name: BROKEN_MIME, score: 1.2, check: broken-mime, reason: its parts are not put together properly}
      - {name: DOUBLE_ENDING, score: 3.5, check: double-file-ending, reason: a file hides what it is behind two endings}
      # Links
      - {name: LINK_IP, score: 3.0, check: link-to-address, reason: a link leads to a bare address}
      - {name: LINK_FEIGNS, score: 2.5, check: link-shows-other-host, reason: a link shows one host and leads to another}
      - {name: MANY_LINKS, score: 0.6, check: many-links, reason: fifty links and more}
      # Words
      - {name: PRIZE, score: 2.2, reason: promises a prize, words: [you have won, you are a winner, "lotter*",
          claim your prize, unclaimed prize, cash prize]}
      - {name: FORTUNE, score: 3.2, reason: somebody far away shares a fortune, words: [next of kin, late client,
          million dollars, million united states dollars, unclaimed funds, inheritance fund, transfer of funds,
          "beneficiary of*", western union, money gram]}
      - {name: PILLS, score: 2.8, reason: sells medicine, words: ["viagra*", "cialis*", "levitra*", online pharmacy,
          no prescription, "xanax*", "valium*", weight loss, lose weight]}
      - {name: MONEY, score: 2.6, reason: easy money, words: [make money fast, earn extra cash, work from home,
          financial freedom, double your income, be your own boss, no experience needed, "guaranteed income*"]}
      - {name: CREDIT, score: 2.6, reason: cheap credit, words: [bad credit, no credit check, consolidate your debt,
          eliminate debt, lowest rates, mortgage rates, refinance your home, pre-approved]}
      - {name: HURRY, score: 1.8, reason: hurries the reader, words: [act now, limited time offer, offer expires,
          order now, don't delete, urgent response, while supplies last, "call now*"]}
      - {name: ACCOUNT, score: 2.0, reason: asks for a password, words: [verify your account, confirm your password,
          your account has been suspended, your account will be closed, unusual activity, update your billing,
          validate your mailbox, mailbox is full click]}
      - {name: ADULT, score: 2.2, reason: offers pictures or company, words: [adult content, hot singles, xxx,
          "porn*", enlarge your, "penis*", live girls]}
      - {name: BULK, score: 2.0, reason: speaks of being removed, words: [to be removed from, remove me in the subject,
          this is not spam, opt-out, you are receiving this because you opted, one time mailing, "bulk email*"]}
      - {name: FREE, score: 0.8, reason: free of charge, in: subject, words: [free, 100% free, risk free, "free!!!"]}
    """
}

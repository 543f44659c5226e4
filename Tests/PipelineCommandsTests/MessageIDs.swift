import Pipeline

enum MessageIDs {
  static let one = MessageID("0190b3a1-7a4f-7000-8000-1234567890ab")
}

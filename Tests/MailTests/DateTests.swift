import Mail
import Pipeline
import Testing

@Suite struct DateTests {
  @Test(arguments: [
    ("Tue, 24 Nov 2026 09:30:00 +0100", "Tue, 24 Nov 2026 09:30:00 +0100", 1_795_509_000),
    ("24 Nov 2026 09:30 +0100", "Tue, 24 Nov 2026 09:30:00 +0100", 1_795_509_000),
    ("Thu, 1 Jan 1970 00:00:00 +0000", "Thu, 1 Jan 1970 00:00:00 +0000", 0),
    ("Fri, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706),
    ("21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000", 880_106_106),
    ("21 Nov 97 09:55:06 EST", "Fri, 21 Nov 1997 09:55:06 -0500", 880_124_106),
    ("Fri, 21 Nov 97 09(comment):   55  :  06 (a (nested) one) -0600", "Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706),
    ("Thu, 13 Feb 1969 23:32 -0330", "Thu, 13 Feb 1969 23:32:00 -0330", -27_723_480),
    ("29 Feb 2024 12:00:00 Z", "Thu, 29 Feb 2024 12:00:00 +0000", 1_709_208_000),
    ("31 Dec 2016 23:59:60 +0000", "Sat, 31 Dec 2016 23:59:59 +0000", 1_483_228_799),
    ("1 Jan 103 00:00:00 +0000", "Wed, 1 Jan 2003 00:00:00 +0000", 1_041_379_200),
    ("1 Jan 2003 00:00:00 XYZ", "Wed, 1 Jan 2003 00:00:00 +0000", 1_041_379_200),
    ("1 jan 2003 00:00:00", "Wed, 1 Jan 2003 00:00:00 +0000", 1_041_379_200),
  ])
  func reads(_ text: String, _ written: String, _ seconds: Int64) throws {
    let date = try #require(MailDate(text.utf8))
    #expect(date.time == Timestamp(milliseconds: seconds * 1000))
    #expect(date.description == written)
    #expect(MailDate(date.description.utf8) == date)
  }

  @Test(arguments: [
    "", "yesterday", "32 Jan 2003 00:00:00 +0000", "29 Feb 2023 00:00:00 +0000", "1 Foo 2003 00:00:00 +0000",
    "1 Jan 2003 24:00:00 +0000", "1 Jan 2003 00:60:00 +0000", "1 Jan 2003 00:00:61 +0000", "1 Jan 2003",
    "1 Jan 2003 12",
    "1 Jan 2003 00:00:00 +9999", "1 Jan 2003 00:00:00 +0060", "1 Jan 20031 00:00:00 +0000", "1 Jan 1899 00:00:00 +0000",
    "(1 Jan 2003 00:00:00 +0000", "1 Jan 2003 00:00:00 +0000)", "1 Jan 2003 00:00:00 +0000 +0000",
    "-1 Jan 2003 00:00 Z",
    "99999999999999999999 Jan 2003 00:00:00 +0000", "1 Jan 2003 00:00:00 \u{0}",
  ])
  func refuses(_ text: String) { #expect(MailDate(text.utf8) == nil) }
}

/// The charsets that mail is written in, by the names that programs give them.
///
/// A list of our own, since glibc's knows hundreds that no mail has, and its modules for those have had endless loops
/// and worse. As in WHATWG Encoding section 4.2, a name means the superset that programs mean by it.
enum CharsetNames {
  /// Names in lower case, with the name of each in iconv.
  static let known: [String: String] = {
    var known: [String: String] = [:]
    for (name, labels) in table {
      for label in labels.split(separator: " ") { known[String(label)] = name }
    }
    for number in [1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258, 437, 850, 852, 855, 857, 858, 862, 866, 874] {
      for prefix in ["windows-", "windows", "win-", "cp", "cp-", "x-cp", "ibm", "ibm-", "dos-"] {
        known["\(prefix)\(number)"] = "CP\(number)"
      }
    }
    for part in [2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16] {
      for prefix in ["iso-8859-", "iso8859-", "iso_8859-", "iso-8859_", "iso8859_"] {
        known["\(prefix)\(part)"] = "ISO-8859-\(part)"
      }
    }
    return known
  }()

  private static let table: [(String, String)] = [
    ("CP1252", "iso-8859-1 iso8859-1 iso_8859-1 iso88591 latin1 latin-1 l1 8859-1 ansi windows-latin1 x-ansi"),
    ("CP1254", "iso-8859-9 iso8859-9 iso_8859-9 latin5"),
    ("CP874", "iso-8859-11 iso8859-11 tis-620 tis620"),
    ("ISO-8859-2", "latin2"),
    ("ISO-8859-8", "iso-8859-8-i iso-8859-8-e"),
    ("KOI8-R", "koi8-r koi8r koi8 koi"),
    ("KOI8-U", "koi8-u koi8-ru"),
    ("GB18030", "gb2312 gb_2312-80 gb_2312 gbk x-gbk gb18030 euc-cn cp936 windows-936 x-euc-cn chinese csgb2312"),
    ("BIG5-HKSCS", "big5 big-5 big5-hkscs x-x-big5 cn-big5 csbig5 cp950 windows-950"),
    ("EUC-TW", "euc-tw x-euc-tw"),
    (
      "CP949",
      "ks_c_5601-1987 ks_c_5601 ksc5601 ksc_5601 ks_c_5601-1989 euc-kr euckr x-euc-kr cp949 ms949 uhc windows-949"
    ),
    ("ISO-2022-KR", "iso-2022-kr"),
    ("CP932", "shift_jis shift-jis sjis x-sjis ms_kanji cp932 ms932 windows-31j windows-932 csshiftjis"),
    ("EUC-JP-MS", "euc-jp eucjp x-euc-jp x-euc"),
    ("ISO-2022-JP", "iso-2022-jp csiso2022jp iso-2022-jp-1 iso-2022-jp-2 cp50220 cp50221"),
    ("UTF-7", "utf-7 utf7 unicode-1-1-utf-7 x-unicode-2-0-utf-7"),
    ("UTF-16", "utf-16 utf16 unicode ucs-2 iso-10646-ucs-2"),
    ("UTF-16LE", "utf-16le"), ("UTF-16BE", "utf-16be"),
    ("UTF-32", "utf-32 utf32"),
    ("MACINTOSH", "macintosh mac x-mac-roman macroman"),
    ("MAC-CYRILLIC", "x-mac-cyrillic x-mac-ukrainian"),
    ("VISCII", "viscii"),
  ]
}
